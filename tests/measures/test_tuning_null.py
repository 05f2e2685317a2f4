"""The permutation null: against enumeration and exact arithmetic, its exchangeability, its calibration."""

from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from scipy.stats import permutation_test

from clntk import task_tuning
from clntk.measures.tuning import design as design_module
from clntk.measures.tuning import null as null_module
from clntk.measures.tuning.design import Design
from clntk.measures.tuning.inputs import design_of
from clntk.measures.tuning.null import called, permuted

NULL = ["p", "tuned", "selectivity_null", "selectivity_corrected"]


def exact_selectivity(values, labels, n_tasks):
    means = []
    for task in range(n_tasks):
        own = [Fraction(max(v, 0)) for v, label in zip(values, labels, strict=True) if label == task]
        means.append(sum(own) / len(own))
    top = max(means)
    others = (sum(means) - top) / (n_tasks - 1)
    return (top - others) / (top + others)


# --- the p-value ------------------------------------------------------------------------------------------


def test_p_approaches_that_of_all_permutations():
    rng = np.random.default_rng(3)
    code, tasks = np.abs(rng.normal(size=(9, 8))) + 0.1, np.repeat(["a", "b"], [4, 5])

    def selectivity(x, y, axis):
        top, low = np.maximum(x.mean(axis), y.mean(axis)), np.minimum(x.mean(axis), y.mean(axis))
        return (top - low) / (top + low)

    every = permutation_test((code[:4], code[4:]), selectivity, alternative="greater", n_resamples=np.inf)
    assert np.shape(every.null_distribution)[0] == 126  # 9 choose 4
    found = task_tuning(code, tasks, null=20_000)
    # five standard errors of a binomial share in 20 000
    np.testing.assert_allclose(found.p, every.pvalue, atol=5 * np.sqrt(0.25 / 20_000))
    np.testing.assert_allclose(found.selectivity_null, every.null_distribution.mean(axis=0), atol=0.01)
    assert found.p.min() < 0.1 < 0.5 < found.p.max()


@pytest.mark.parametrize("sizes", [(4, 4, 4), (2, 3, 7)])
def test_ties_count_in_full(sizes):
    """Tenths whose sums tie in exact arithmetic and not in binary; p is that of exact arithmetic."""
    rng = np.random.default_rng(1)
    tenths = rng.integers(-1, 4, size=(12, 25))
    tasks = np.repeat([0, 1, 2], sizes)
    design = Design.without_stimuli(["0", "1", "2"], tasks)
    labels = permuted(design, 60, np.random.default_rng(0))
    found = task_tuning(tenths / 10, tasks, null=60, seed=0)
    ties = 0
    for unit, column in enumerate(tenths.T.tolist()):
        observed = exact_selectivity(column, tasks, 3)
        null = [exact_selectivity(column, row, 3) for row in labels]
        assert found.p[unit] == (1 + sum(index >= observed for index in null)) / 61
        mean = float(sum(null) / 60)
        assert found.selectivity_null[unit] == pytest.approx(mean, abs=1e-9)
        assert found.selectivity_corrected[unit] == pytest.approx(float(observed) - mean, abs=1e-9)
        ties += sum(index == observed for index in null)
    assert ties > 50


def test_units_that_no_permutation_changes():
    single = np.zeros(30)
    single[4] = 0.7  # alone it makes any task the only one
    code = np.column_stack([np.full(30, 0.1), single, np.zeros(30), -np.ones(30)])
    found = task_tuning(code, np.repeat(list("abc"), [5, 10, 15]), null=50)
    np.testing.assert_array_equal(found.p, [1, 1, np.nan, np.nan])
    np.testing.assert_allclose(found.selectivity_corrected, [0, 0, np.nan, np.nan], atol=1e-9)
    np.testing.assert_allclose(found.selectivity_null, [0, 1, np.nan, np.nan], atol=1e-9)
    assert not found.tuned.any()


def test_with_one_example_a_task_nothing_can_be_told():
    found = task_tuning(np.random.default_rng(0).random((5, 20)), list("abcde"), null=30)
    assert (found.p == 1).all()
    np.testing.assert_allclose(found.selectivity_corrected, 0, atol=1e-9)


def test_the_smallest_p_is_one_in_one_more_than_the_permutations():
    found = task_tuning(np.repeat(np.eye(2), 20, axis=0), np.repeat(["a", "b"], 20), null=99)
    np.testing.assert_array_equal(found.p, [0.01, 0.01])
    assert found.tuned.all()
    assert found.attrs == {"null": 99, "fdr": 0.05, "seed": 0}


def test_without_a_null_nothing_is_tested():
    found = task_tuning(np.repeat(np.eye(2), 20, axis=0), np.repeat(["a", "b"], 20), null=0)
    assert found[["p", "selectivity_null", "selectivity_corrected"]].to_array().isnull().all()
    assert not found.tuned.any()


def test_calls_are_benjamini_hochbergs_over_the_units_that_have_a_p():
    p = np.array([0.001, np.nan, 0.013, 0.04, np.nan, 0.03, np.nan, 0.6])
    # by hand, over five: 0.001 ≤ 0.01, 0.013 ≤ 0.02, 0.03 ≤ 0.03, 0.04 ≤ 0.04, 0.6 > 0.05
    assert list(np.flatnonzero(called(p, 0.05))) == [0, 2, 3, 5]
    assert not called(np.full(3, np.nan), 0.05).any()


# --- the same numbers, however they are computed ----------------------------------------------------------


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    code, tasks = rng.normal(size=(40, 23)), rng.integers(0, 3, 40)
    stimuli = rng.integers(0, 15, 40)
    whole = task_tuning(code, tasks, stimuli=stimuli, outputs=code[:, :2], null=70)
    for size in (1, 130, 400):
        for module in (design_module, null_module):
            monkeypatch.setattr(module, "AT_ONCE", size)
        xr.testing.assert_allclose(
            task_tuning(code, tasks, stimuli=stimuli, outputs=code[:, :2], null=70), whole, rtol=1e-13
        )
        np.testing.assert_array_equal(task_tuning(code, tasks, stimuli=stimuli, null=70).p, whole.p)


def test_a_null_is_the_same_to_the_bit_wherever_its_unit_stands():
    code = np.random.default_rng(0).normal(size=(997, 61))
    tasks = np.arange(997) % 2
    among = task_tuning(np.column_stack([code, code[:, 7]]), tasks, null=40)[NULL].drop_vars("unit")
    alone = task_tuning(code[:, 7:8], tasks, null=40)[NULL].drop_vars("unit")
    xr.testing.assert_identical(among.isel(unit=[7]), among.isel(unit=[61]))
    xr.testing.assert_identical(among.isel(unit=[7]).drop_vars("tuned"), alone.drop_vars("tuned"))


def test_the_seed_fixes_the_permutations():
    rng = np.random.default_rng(0)
    code, tasks = rng.random((40, 30)), rng.integers(0, 3, 40)
    one, again, other = (task_tuning(code, tasks, null=50, seed=seed)[NULL] for seed in (1, 1, 2))
    xr.testing.assert_identical(one, again)
    assert (one.p != other.p).any()


# --- what may be exchanged --------------------------------------------------------------------------------


def drawn(tasks, stimuli, n=200):
    design = design_of(tasks, stimuli, len(tasks), "here")
    return design, permuted(design, n, np.random.default_rng(0))


def test_single_examples_change_tasks_freely_and_tasks_keep_their_sizes():
    _, labels = drawn(list("aabbbbc"), None)
    assert labels.shape == (200, 7)
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.tile([0, 0, 1, 1, 1, 1, 2], (200, 1)))
    assert len(np.unique(labels, axis=0)) > 60  # of 105
    # each example is as often in c as any other
    shares = (labels == 2).mean(axis=0)
    assert np.abs(shares - 1 / 7).max() < 4 * np.sqrt(6 / 49 / 200)


def test_stimuli_of_one_task_move_with_all_their_repeats():
    tasks, stimuli = list("aaaabbbbb"), [1, 1, 1, 2, 3, 3, 4, 5, 5]
    design, labels = drawn(tasks, stimuli)
    np.testing.assert_array_equal(design.cell_sizes, [3, 1, 2, 1, 2])
    assert set(map(tuple, labels)) == {
        tuple(0 if k in pair else 1 for k in range(5)) for pair in _pairs(5)
    }  # any two of the five stimuli are a's


def _pairs(n):
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def test_stimuli_of_several_tasks_exchange_them_among_themselves():
    # x in both tasks, y in both with two repeats in one, z and w in one task each
    tasks, stimuli = list("ababbab"), list("xxyyyzw")
    design, labels = drawn(tasks, stimuli)
    cells = list(zip(*(part.tolist() for part in design._cells[0]), strict=True))
    assert cells == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 3)]
    np.testing.assert_array_equal(labels[:, 0], 1 - labels[:, 3])
    np.testing.assert_array_equal(labels[:, 1], 1 - labels[:, 4])
    np.testing.assert_array_equal(labels[:, 2], 1 - labels[:, 5])
    assert len(np.unique(labels, axis=0)) == 8


def test_repeats_are_no_evidence():
    """Three stimuli a task, shown 30 times each: of 20 ways to share them out, ten differ."""
    rng = np.random.default_rng(0)
    stimuli = np.repeat(np.arange(6), 30)
    code = rng.random((6, 200))[stimuli] + 0.01 * rng.random((180, 200))
    tasks = np.where(stimuli < 3, "a", "b")
    naive, blocked = task_tuning(code, tasks, null=200), task_tuning(code, tasks, stimuli=stimuli, null=200)
    assert naive.tuned.mean() > 0.5
    assert blocked.p.min() > 0.04
    assert not blocked.tuned.any()
    assert (blocked.p <= 0.3).mean() < 0.45


def test_tasks_are_compared_on_equal_stimuli():
    """What differs between stimuli hides a task effect, unless each stimulus is its own control."""
    rng = np.random.default_rng(0)
    stimuli, tasks = np.tile(np.arange(25), 2), np.repeat(["a", "b"], 25)
    code = (
        10 * rng.random((25, 20))[stimuli]
        + np.where(tasks == "a", 1.0, 0.0)[:, None]
        + 0.1 * rng.random((50, 20))
    )
    naive, paired = task_tuning(code, tasks, null=200), task_tuning(code, tasks, stimuli=stimuli, null=200)
    assert not naive.tuned.any()
    assert paired.tuned.all()


# --- calibration ------------------------------------------------------------------------------------------


def relu_code(rng, n, n_units):
    """Sparse, skewed, of different scales."""
    return np.maximum(rng.normal(size=(n, n_units)) - 0.7, 0) ** 2 * rng.lognormal(size=n_units)


@pytest.mark.parametrize("sizes", [(20, 20, 20), (60, 8, 3)])
def test_shuffled_tasks_give_uniform_p(sizes):
    rng = np.random.default_rng(0)
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    # examples anew for every few units, so that the p-values are nearly independent
    p = np.concatenate(
        [task_tuning(relu_code(rng, len(tasks), 20), tasks, null=199, seed=k).p for k in range(60)]
    )
    p = p[~np.isnan(p)]
    for level in (0.05, 0.2, 0.5):
        # five standard errors of a binomial share
        assert abs((p <= level).mean() - level) < 5 * np.sqrt(level * (1 - level) / len(p))


def test_on_shuffled_tasks_the_false_discovery_rate_holds():
    rng = np.random.default_rng(0)
    tasks = np.repeat(np.arange(4), [30, 10, 10, 10])
    found = [
        task_tuning(relu_code(rng, 60, 30), rng.permutation(tasks), null=999, fdr=0.2, seed=k)
        .tuned.any()
        .item()
        for k in range(150)
    ]
    # nothing is tuned, so that any call is a false discovery: in at most a share of 0.2, here ± 4 standard errors
    assert 0.05 < np.mean(found) < 0.2 + 4 * np.sqrt(0.2 * 0.8 / 150)


def test_among_tuned_units_the_false_discovery_rate_holds_and_they_are_found():
    rng = np.random.default_rng(1)
    tasks = np.repeat(np.arange(3), [20, 20, 10])
    false, power = [], []
    for k in range(60):
        code = relu_code(rng, 50, 50)
        code[:, :20] += 3 * code.std(axis=0)[:20] * (tasks[:, None] == np.arange(20) % 3)
        tuned = task_tuning(code, tasks, null=499, fdr=0.2, seed=k).tuned.values
        false.append(tuned[20:].sum() / max(tuned.sum(), 1))
        power.append(tuned[:20].mean())
    assert np.mean(power) > 0.95
    # 30 of 50 are untuned: Benjamini–Hochberg gives 0.2 · 30/50
    assert np.mean(false) == pytest.approx(0.12, abs=4 * np.std(false) / np.sqrt(60))
