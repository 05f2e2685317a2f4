"""Cross-condition generalisation on codes whose geometry is known, and against a loop."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import ortho_group

from clntk.errors import DataError
from clntk.measures.cross_condition import cross_condition_accuracy, holding_out, over_conditions
from clntk.measures.linear_decoder import PENALTY

# eight corners of a cube, four noisy trials of each: the conditions of Bernardi et al. 2020
CORNERS = np.array(list(product([-1.0, 1.0], repeat=3)))
CONDITION = np.repeat(np.arange(8), 4)


def cube(noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    return CORNERS[CONDITION] @ ortho_group.rvs(10, random_state=seed)[:3] + noise * rng.normal(size=(32, 10))


def test_an_axis_of_a_cube_generalises_and_parity_does_not():
    axis, parity = CORNERS[CONDITION, 0] > 0, CORNERS[CONDITION].prod(axis=1) > 0
    result = cross_condition_accuracy(cube(), axis, CONDITION, null=20)
    assert result.accuracy == 1
    assert result.chance == 0.5
    # of the 70 ways to deal labels to corners six are axes, which some of 20 permutations may hit
    assert result.p <= 9 / 21
    assert cross_condition_accuracy(cube(), parity, CONDITION, null=0).accuracy < 0.2


def test_corners_in_general_position_can_be_learned_but_do_not_generalise():
    rng = np.random.default_rng(0)
    accuracy = [
        float(
            cross_condition_accuracy(
                rng.normal(size=(8, 50))[CONDITION], CORNERS[CONDITION, 0], CONDITION, null=0
            ).accuracy
        )
        for _ in range(12)
    ]
    assert abs(np.mean(accuracy) - 0.5) < 0.12


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_dichotomies_by_a_loop_over_all_held_out_pairs(noise, loop_accuracy):
    code, labels = cube(noise), (CORNERS[CONDITION, 0] > 0).astype(int)
    splits = [
        (np.flatnonzero(~out), np.flatnonzero(out))
        for a, b in product(range(4), range(4, 8))
        for out in [np.isin(CONDITION, [a, b])]
    ]
    assert len(splits) == 16
    result = cross_condition_accuracy(code, labels, CONDITION, null=0)
    assert result.accuracy == pytest.approx(loop_accuracy(code, labels, splits, PENALTY))


def test_conditions_that_cross_the_labels_are_held_out_in_turn(loop_accuracy):
    rng = np.random.default_rng(1)
    labels, tasks = np.arange(36) % 3, np.arange(36) // 12
    code = rng.normal(size=(36, 6)) + np.eye(6)[labels]
    code[:, 5] += np.array([0, 0, 9])[tasks]  # far apart, so that the training examples set mean and scale
    splits = [(np.flatnonzero(tasks != t), np.flatnonzero(tasks == t)) for t in range(3)]
    for C in (1.0, PENALTY):
        result = cross_condition_accuracy(code, labels, tasks, C=C, null=0)
        assert result.accuracy == pytest.approx(loop_accuracy(code, labels, splits, C))
        assert result.chance == pytest.approx(1 / 3)


def grid(turned):
    """A label along one axis, the task along another; turned over in the second task if asked."""
    tasks, labels = np.repeat([0, 1], 10), np.tile([0, 1], 10)
    signs = np.where(tasks == 1, -1 if turned else 1, 1) * (2 * labels - 1)
    return (
        np.stack([signs, 3 * tasks], axis=1) + 0.01 * np.random.default_rng(0).normal(size=(20, 2)),
        labels,
        tasks,
    )


def test_parallel_codes_generalise_and_opposite_ones_do_the_contrary():
    assert cross_condition_accuracy(*grid(False), null=0).accuracy == 1
    assert cross_condition_accuracy(*grid(True), null=0).accuracy == 0


def test_labels_that_are_not_learned_are_not_tested():
    """Label 2 occurs in the second task alone; when it is held out, 0 and 1 remain to test."""
    labels, tasks = np.array([0, 1, 0, 1, 0, 1, 2, 2]), np.repeat([0, 1], 4)
    splits = holding_out(tasks, np.random.default_rng(0))(labels)
    assert [(train.tolist(), test.tolist()) for train, test in splits] == [
        ([4, 5, 6, 7], [0, 1, 2, 3]),
        ([0, 1, 2, 3], [4, 5]),
    ]
    code = np.eye(3)[labels] + 0.01 * np.random.default_rng(0).normal(size=(8, 3))
    result = cross_condition_accuracy(code, labels, tasks, null=0)
    assert result.accuracy == 1
    assert result.chance == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_of_too_many_choices_a_hundred_are_drawn():
    labels = np.repeat([0, 1], 11)
    splits = holding_out(np.arange(22), np.random.default_rng(0))(labels)  # 121 pairs
    assert len(splits) == 100
    assert all(sorted(labels[test]) == [0, 1] for _, test in splits)
    assert len({tuple(test) for _, test in splits}) > 50
    assert len(holding_out(np.arange(20), np.random.default_rng(0))(labels[1:-1])) == 100  # all of them
    first, again = (
        cross_condition_accuracy(labels[:, None] * 1.0, labels, range(22), null=2, seed=5) for _ in range(2)
    )
    assert first.identical(again)


def test_labels_are_shuffled_within_conditions_that_cross_them():
    rng = np.random.default_rng(0)
    labels, tasks = rng.integers(0, 3, 60), np.repeat([0, 1, 2], 20)
    shuffled = over_conditions(tasks)(labels, rng)
    assert (shuffled != labels).any()
    for task in range(3):
        assert sorted(shuffled[tasks == task]) == sorted(labels[tasks == task])
    assert (labels == labels.copy()).all()


def test_whole_conditions_are_dealt_new_labels_where_each_has_one():
    rng = np.random.default_rng(0)
    labels = (CORNERS[CONDITION, 0] > 0).astype(int)
    seen = set()
    for _ in range(20):
        shuffled = over_conditions(CONDITION)(labels, rng)
        by_condition = shuffled.reshape(8, 4)
        assert (by_condition == by_condition[:, :1]).all()
        assert by_condition[:, 0].sum() == 4
        seen.add(tuple(by_condition[:, 0]))
    assert len(seen) > 10


def test_the_null_of_a_code_that_generalises_is_near_chance():
    code, labels, tasks = grid(False)
    result = cross_condition_accuracy(code, labels, tasks, null=39)
    assert result.p == pytest.approx(1 / 40)
    assert abs(result.null_accuracy - 0.5) < 0.15


@pytest.mark.parametrize(
    ("labels", "conditions"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1]),  # one condition of each label: none left to learn from
        ([0, 1, 0, 1], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 1, 1]),
        ([0, 1, 2, 3], [0, 0, 1, 1]),
    ],
)
def test_what_cannot_be_held_out_is_refused(labels, conditions):
    with pytest.raises(DataError, match="expected two labels that occur in a condition to be held out"):
        cross_condition_accuracy(np.arange(4.0)[:, None], labels, conditions)


def test_errors_name_the_place_and_the_finding():
    code, labels, tasks = grid(False)
    with pytest.raises(DataError, match="cross_condition_accuracy, conditions: expected 20 labels"):
        cross_condition_accuracy(code, labels, tasks[:-1])
    with pytest.raises(DataError, match="cross_condition_accuracy, labels: expected 20 labels"):
        cross_condition_accuracy(code, labels[:-1], tasks)
    with pytest.raises(DataError, match=r"cross_condition_accuracy, activations: .* found 20 NaN"):
        cross_condition_accuracy(code * [[1.0, np.nan]], labels, tasks)
