"""Decoding against a loop over scikit-learn's linear machine, codes that can be read out, and codes that cannot."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.model_selection import StratifiedKFold

from clntk import registry
from clntk.errors import DataError
from clntk.measures.cross_condition import cross_condition_accuracy
from clntk.measures.decoding import decoding, decoding_accuracy
from clntk.measures.linear_decoder import PENALTY
from clntk.measures.summary import scalars

LABELS = np.arange(36) % 3


def noisy(seed=0, separation=1.0, units=5, labels=LABELS):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), units)) + separation * np.eye(units)[labels] + 2.0


def folds_of(labels, seed=0, folds=5):
    drawn = int(np.random.default_rng(seed).integers(2**32))
    return list(StratifiedKFold(folds, shuffle=True, random_state=drawn).split(labels, labels))


@pytest.mark.parametrize("units", [5, 60])  # 60 units: the code is turned onto 36 axes first
@pytest.mark.parametrize("C", [1.0, PENALTY])
def test_accuracy_by_a_loop(units, C, loop_accuracy):
    code = 0.001 * noisy(separation=1.5, units=units)
    result = decoding_accuracy(code, LABELS, C=C, null=0)
    expected = loop_accuracy(code, LABELS, folds_of(LABELS), C)
    assert 0.34 < expected < 0.95
    assert result.accuracy == pytest.approx(expected)
    assert result.chance == pytest.approx(1 / 3)


def test_labels_of_unequal_frequency_count_the_same(loop_accuracy):
    labels = np.repeat([0, 1], [30, 6])
    code = noisy(separation=1.0, labels=labels)
    result = decoding_accuracy(code, labels, folds=3, null=0)
    assert result.accuracy == pytest.approx(loop_accuracy(code, labels, folds_of(labels, folds=3), PENALTY))
    assert decoding_accuracy(np.full((36, 4), 0.1), labels, null=0).accuracy == 0.5


def test_a_separable_code_is_decoded_and_beats_every_permutation():
    result = decoding_accuracy(noisy(separation=20.0), LABELS, null=19)
    assert result.accuracy == 1
    assert result.p == pytest.approx(1 / 20)
    assert abs(result.null_accuracy - 1 / 3) < 0.1
    assert list(result.data_vars) == ["accuracy", "chance", "null_accuracy", "p"]


def test_activity_that_does_not_vary_gets_chance_exactly():
    result = decoding_accuracy(np.full((36, 4), 0.1), LABELS, null=3)
    assert result.accuracy == result.chance == result.null_accuracy == pytest.approx(1 / 3)
    assert result.p == 1


def test_p_is_uniform_where_there_is_nothing():
    """24 codes of noise: the mean of p has standard deviation .29/√24 = .06; three of them are allowed."""
    labels = np.arange(12) % 2
    p = [
        float(decoding_accuracy(noisy(s, 0.0, 3, labels), labels, folds=2, null=9, seed=s).p)
        for s in range(24)
    ]
    # ties between the few accuracies that 12 examples can have push p up a little
    assert 0.55 - 3 * 0.06 < np.mean(p) < 0.6 + 3 * 0.06
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 3 * 0.061


def test_it_is_fixed_by_its_seed():
    code = noisy()
    first, again, other = (decoding_accuracy(code, LABELS, null=3, seed=s) for s in (1, 1, 2))
    assert first.identical(again)
    assert not first.identical(other)
    assert np.isnan([decoding_accuracy(code, LABELS, null=0)[v] for v in ("null_accuracy", "p")]).all()


def test_the_rarest_label_bounds_the_folds():
    labels = np.repeat([0, 1], [10, 3])
    code = noisy(labels=labels)
    five, three = (decoding_accuracy(code, labels, folds=k, null=0) for k in (5, 3))
    assert five.identical(three)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_it_is_blind_to_rotation_scale_unit_order_and_copies(seed, scale):
    rng = np.random.default_rng(seed)
    code, tasks = noisy(seed, separation=2.0), np.arange(36) // 12
    changed = {
        "rotation": code @ ortho_group.rvs(5, random_state=rng),
        "scale": scale * code,
        "unit order": code[:, rng.permutation(5)],
        "duplicate units": np.hstack([code, code]),
    }
    read_outs = (
        lambda c: decoding_accuracy(c, LABELS, null=0).accuracy,
        lambda c: cross_condition_accuracy(c, LABELS, tasks, null=0).accuracy,
    )
    for name, other in changed.items():
        for accuracy in read_outs:
            # an example that lies on the boundary but for rounding may change sides
            assert abs(accuracy(other) - accuracy(code)) < 0.09, name


def test_tensors_and_labels_of_any_type():
    code = noisy()
    names = [("class", int(label)) for label in LABELS]
    expected = decoding_accuracy(code, LABELS, null=0)
    assert decoding_accuracy(torch.tensor(code), torch.tensor(LABELS), null=0).identical(expected)
    assert decoding_accuracy(code.tolist(), names, null=0).identical(expected)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0] * 36, {}, "at least two labels with two examples each, found 1 with 36 of the rarest"),
        ([0] * 35 + [1], {}, "at least two labels with two examples each, found 2 with 1 of the rarest"),
        (LABELS[:-1], {}, "labels: expected 36 labels, one for each row of activations, found 35"),
        ([*LABELS[:-1], None], {}, "labels: expected a label for every example, found 1 missing"),
        (LABELS, {"folds": 1}, "folds: expected at least 2, found 1"),
    ],
)
def test_errors_name_the_place_and_the_finding(labels, options, message):
    with pytest.raises(DataError, match=f"decoding_accuracy, .*{message}"):
        decoding_accuracy(noisy(), labels, **options)


def test_activations_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match=r"decoding_accuracy, activations: .* found 1 NaN"):
        decoding_accuracy([[np.nan], [1.0], [2.0], [3.0]], [0, 0, 1, 1])


def columns(n_tasks=2):
    """The task and the column of nine stimuli in every task."""
    return np.repeat(np.arange(n_tasks), 9), np.tile(np.arange(9) % 3, n_tasks)


def test_the_measure_is_the_functions(make_activations, blob_probes):
    facts = make_activations({"first": 5, "second": 30}, n_tasks=2, n=9)
    result = decoding(facts, blob_probes, null=2, seed=3)
    assert result.accuracy.dims == ("checkpoint", "layer", "decoded")
    assert list(result.checkpoint.values) == ["init", "phase2"]
    assert list(result.step.values) == [0, 6]
    task = np.repeat([0, 1], 9)
    target = np.concatenate(blob_probes.targets.values[..., 0])
    for layer, code in facts.items():
        flat = code.values[2].reshape(18, -1)
        at = result.sel(layer=layer).isel(checkpoint=1)
        expected = {
            "task": decoding_accuracy(flat, task, null=2, seed=3),
            "target": decoding_accuracy(flat, target, null=2, seed=3),
            "task_across_targets": cross_condition_accuracy(flat, task, target, null=2, seed=3),
            "target_across_tasks": cross_condition_accuracy(flat, target, task, null=2, seed=3),
            "stimulus_across_tasks": cross_condition_accuracy(
                flat, np.tile(np.arange(9), 2), task, null=2, seed=3
            ),
        }
        assert list(at.decoded.values) == list(expected)
        for name, alone in expected.items():
            for variable in alone:
                assert at[variable].sel(decoded=name) == pytest.approx(float(alone[variable])), (
                    name,
                    variable,
                )
    every = decoding(facts, blob_probes, checkpoints="every", seed=3)
    assert list(every.checkpoint.values) == ["init", "phase1", "phase2"]
    assert every.p.isnull().all()
    np.testing.assert_array_equal(every.accuracy[[0, 2]], result.accuracy)
    assert decoding({"one": facts["first"][:1]}, blob_probes).sizes["checkpoint"] == 1


def test_its_numbers_are_the_accuracies_by_name(make_activations, blob_probes):
    entry = registry.get("measure", "decoding")
    result = entry(make_activations({"first": 5, "second": 8}, n_tasks=2, n=9), blob_probes)
    found = scalars("decoding", result, entry.traits["scalar"])
    assert list(found) == [f"decoding.{name}" for name in result.decoded.values]
    assert found["decoding.task"] == pytest.approx(result.accuracy.sel(decoded="task")[-1].mean().item())


def test_classes_of_one_task_each_are_held_out_one_of_each_task(make_activations, make_probes):
    """Classes split over tasks: there is nothing to generalise over tasks, but the task over classes."""
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    classes = np.array([[0, 0, 0, 0, 1, 1, 1, 1, 4], [2, 2, 2, 2, 2, 3, 3, 3, 3]])  # one of class 4: left out
    result = decoding(facts, make_probes(np.random.default_rng(0).normal(size=(2, 9, 4)), classes))
    accuracy = result.accuracy[1, 0]
    kept = np.arange(18) != 8
    flat = facts["hidden"].values[2].reshape(18, -1)[kept]
    task, target = np.repeat([0, 1], 9)[kept], classes.ravel()[kept]
    across = cross_condition_accuracy(flat, task, target, null=0)
    assert accuracy.sel(decoded="task_across_targets") == pytest.approx(float(across.accuracy))
    assert accuracy.sel(decoded="target") == pytest.approx(
        float(decoding_accuracy(flat, target, null=0).accuracy)
    )
    assert accuracy.sel(decoded=["target_across_tasks", "stimulus_across_tasks"]).isnull().all()


def test_what_cannot_be_decoded_is_nan_beside_what_can(make_activations, make_probes):
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    rng = np.random.default_rng(0)
    continuous = make_probes(rng.normal(size=(2, 9, 4)), rng.normal(size=(2, 9, 1)).astype(np.float32))
    known = decoding(facts, continuous).accuracy[0, 0].notnull()
    assert known.decoded.values[known].tolist() == ["task"]
    single = make_activations({"hidden": 5}, n_tasks=3, n=1)
    one_each = make_probes(rng.normal(size=(3, 1, 4)), [[0], [0], [1]])
    assert decoding(single, one_each).accuracy.isnull().all()


def test_a_dead_layer_gets_chance(make_activations, blob_probes):
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    facts["hidden"][:] = 0.0
    result = decoding(facts, blob_probes)
    np.testing.assert_allclose(result.accuracy, result.chance)


def test_nothing_is_drawn_from_the_global_generator():
    before = np.random.get_state()[1:3]  # noqa: NPY002  (scikit-learn's default)
    decoding_accuracy(noisy(), LABELS, null=3)
    after = np.random.get_state()[1:3]  # noqa: NPY002
    assert before[1] == after[1]
    np.testing.assert_array_equal(before[0], after[0])
