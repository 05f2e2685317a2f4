"""Performance measures against numbers worked out by hand, on a 3×3 accuracy matrix."""

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.measures import performance
from clntk.measures.summary import scalars

R = [[0.9, 0.3, 0.2], [0.6, 0.8, 0.4], [0.5, 0.85, 0.7]]
SEQUENCE = np.eye(3, dtype=bool)
NAN = float("nan")


def metrics(accuracy, trained, train_loss=None):
    """Facts with a row for initialisation whose accuracies are far above all others, so that a leak shows."""
    accuracy, trained = np.asarray(accuracy, float), np.asarray(trained, bool)
    n_phases, n_tasks = accuracy.shape
    losses = np.full(accuracy.shape, 9.0) if train_loss is None else np.asarray(train_loss, float)
    tables = {
        "test_accuracy": np.vstack([np.full(n_tasks, 0.99), accuracy]),
        "train_loss": np.vstack([np.full(n_tasks, 100.0), losses]),
        "trained": np.vstack([np.zeros(n_tasks, bool), trained]),
    }
    return xr.Dataset(
        {name: (("checkpoint", "eval_task"), table) for name, table in tables.items()},
        coords={
            "checkpoint": ["init", *(f"phase{k}" for k in range(n_phases))],
            "step": ("checkpoint", np.arange(n_phases + 1) * 10),
            "eval_task": [f"task{j}" for j in range(n_tasks)],
        },
    )


@pytest.fixture
def sequence():
    return metrics(R, SEQUENCE, train_loss=[[0.1, 5, 5], [5, 0.2, 5], [5, 5, 0.6]])


@pytest.fixture
def joint():
    return metrics([[0.8, 0.7, 0.6]], [[True] * 3], train_loss=[[0.1, 0.2, 0.6]])


def test_accuracy_matrix_drops_initialisation_and_keeps_labels(sequence):
    result = performance.accuracy_matrix(sequence)
    assert result.name == "accuracy_matrix"
    assert result.dims == ("checkpoint", "eval_task")
    assert list(result.checkpoint.values) == ["phase0", "phase1", "phase2"]
    assert list(result.step.values) == [10, 20, 30]
    np.testing.assert_array_equal(result, R)


def test_the_order_of_dimensions_does_not_matter(sequence):
    for measure in (performance.accuracy_matrix, performance.forgetting, performance.backward_transfer):
        xr.testing.assert_identical(measure(sequence.transpose("eval_task", "checkpoint")), measure(sequence))


def test_average_accuracy_is_over_tasks_seen_so_far(sequence):
    expected = [0.9, (0.6 + 0.8) / 2, (0.5 + 0.85 + 0.7) / 3]
    np.testing.assert_allclose(performance.average_accuracy(sequence), expected, rtol=1e-15)


def test_forgetting_by_hand(sequence):
    # task 1 at the last phase: its best before was 0.8 (phase 1), it is 0.85 now
    expected = [[NAN, NAN, NAN], [0.9 - 0.6, NAN, NAN], [0.9 - 0.5, 0.8 - 0.85, NAN]]
    np.testing.assert_allclose(performance.forgetting(sequence), expected, rtol=1e-12)


def test_forgetting_counts_accuracy_reached_before_the_task_was_trained():
    # Chaudhry's maximum is over all earlier phases: task 1 was best, by transfer, after phase 0
    facts = metrics([[0.5, 0.95, 0], [0.5, 0.7, 0], [0.5, 0.6, 0.5]], SEQUENCE)
    assert performance.forgetting(facts).values[2, 1] == pytest.approx(0.95 - 0.6)
    assert performance.backward_transfer(facts).values[2, 1] == pytest.approx(0.6 - 0.7)


def test_forgetting_uses_the_best_and_not_the_latest_earlier_phase():
    facts = metrics([[0.9, 0, 0], [0.2, 0.9, 0], [0.3, 0.9, 0.9]], SEQUENCE)
    assert performance.forgetting(facts).values[2, 0] == pytest.approx(0.6)


def test_loss_is_forgotten_by_rising_above_its_lowest():
    facts = metrics([[0.9, 0, 0], [0.2, 0.9, 0], [0.3, 0.9, 0.9]], SEQUENCE)
    loss = xr.DataArray([[9, 9, 9], [1, 5, 5], [3, 1, 5], [2, 4, 1]], coords=facts["test_accuracy"].coords)
    facts = facts.assign(test_loss=loss.astype(float))
    expected = [[NAN, NAN, NAN], [3 - 1, NAN, NAN], [2 - 1, 4 - 1, NAN]]
    np.testing.assert_array_equal(performance.forgetting(facts, of="loss"), expected)
    np.testing.assert_array_equal(performance.backward_transfer(facts, of="loss"), -np.array(expected))


def test_backward_transfer_by_hand(sequence):
    expected = [[NAN, NAN, NAN], [0.6 - 0.9, NAN, NAN], [0.5 - 0.9, 0.85 - 0.8, NAN]]
    np.testing.assert_allclose(performance.backward_transfer(sequence), expected, rtol=1e-12)


def test_backward_transfer_counts_from_the_first_time_a_task_was_trained():
    facts = metrics([[0.9, 0.1], [0.4, 0.8], [0.7, 0.5]], [[1, 0], [0, 1], [1, 0]])
    expected = [[NAN, NAN], [0.4 - 0.9, NAN], [0.7 - 0.9, 0.5 - 0.8]]
    np.testing.assert_allclose(performance.backward_transfer(facts), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_all_against_explicit_loops(seed):
    rng = np.random.default_rng(seed)
    accuracy = rng.random((6, 4))
    trained = rng.random((6, 4)) < 0.3
    facts = metrics(accuracy, trained)
    forgetting, transfer = np.full((6, 4), NAN), np.full((6, 4), NAN)
    average = np.full(6, NAN)
    for k in range(6):
        seen = [j for j in range(4) if any(trained[i, j] for i in range(k + 1))]
        if seen:
            average[k] = sum(accuracy[k, j] for j in seen) / len(seen)
        for j in range(4):
            earlier = [i for i in range(k) if trained[i, j]]
            if earlier:
                forgetting[k, j] = max(accuracy[i, j] for i in range(k)) - accuracy[k, j]
                transfer[k, j] = accuracy[k, j] - accuracy[earlier[0], j]
    np.testing.assert_allclose(performance.average_accuracy(facts), average, rtol=1e-12)
    np.testing.assert_allclose(performance.forgetting(facts), forgetting, rtol=1e-12)
    np.testing.assert_allclose(performance.backward_transfer(facts), transfer, rtol=1e-12)


def test_measures_of_the_tasks_just_trained(sequence):
    np.testing.assert_array_equal(performance.final_train_loss(sequence), [0.1, 0.2, 0.6])
    np.testing.assert_array_equal(performance.learning_accuracy(sequence), [0.9, 0.8, 0.7])


@pytest.mark.parametrize(("name", "expected"), [("final_train_loss", 0.3), ("learning_accuracy", 0.8)])
def test_their_number_is_the_mean_over_all_phases(sequence, name, expected):
    entry = registry.get("measure", name)
    number = scalars(name, entry.function(sequence), entry.traits["scalar"])
    assert number == {name: pytest.approx(expected)}


def test_forgetting_s_number_is_the_mean_over_earlier_tasks_at_the_end(sequence):
    assert scalars("forgetting", performance.forgetting(sequence)) == {
        "forgetting": pytest.approx((0.4 - 0.05) / 2)
    }


def test_a_joint_run_has_nothing_to_forget(joint):
    for measure in (performance.forgetting, performance.backward_transfer):
        result = measure(joint)
        assert result.shape == (1, 3)
        assert result.isnull().all()
        assert np.isnan(scalars("it", result)["it"])
    np.testing.assert_allclose(performance.average_accuracy(joint), [0.7], rtol=1e-15)
    np.testing.assert_allclose(performance.final_train_loss(joint), [0.3], rtol=1e-15)
    np.testing.assert_allclose(performance.learning_accuracy(joint), [0.7], rtol=1e-15)


def test_a_checkpoint_that_ends_no_phase_is_nan():
    facts = metrics([[0.5, 0.5], [0.6, 0.4]], [[0, 0], [1, 0]])
    np.testing.assert_array_equal(performance.average_accuracy(facts), [NAN, 0.6])
    np.testing.assert_array_equal(performance.learning_accuracy(facts), [NAN, 0.6])


def test_missing_initialisation_or_phases_are_refused(sequence):
    with pytest.raises(DataError, match="metrics: expected the first checkpoint to be 'init', found"):
        performance.forgetting(sequence.isel(checkpoint=slice(1, None)))
    with pytest.raises(DataError, match="every training phase, found 'init' alone"):
        performance.accuracy_matrix(sequence.isel(checkpoint=slice(0, 1)))


def test_facts_are_not_changed(sequence):
    before = sequence.copy(deep=True)
    performance.forgetting(sequence)
    performance.backward_transfer(sequence)
    xr.testing.assert_identical(sequence, before)
