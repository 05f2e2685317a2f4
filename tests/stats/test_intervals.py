"""Intervals against SciPy called directly, and their coverage against what the docstring says of it."""

import math

import numpy as np
import pytest
from scipy import stats

from clntk.errors import DataError
from clntk.stats.intervals import bootstrap_interval

VALUES = [0.1, 0.5, 0.3, 0.9, 0.35, 0.2]


def scipy_interval(values, method, level=0.95, seed=0):
    result = stats.bootstrap(
        (np.array(values),), np.mean, confidence_level=level, method=method, rng=np.random.default_rng(seed)
    )
    return tuple(result.confidence_interval)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bca_is_scipy_s(level):
    got = bootstrap_interval(VALUES, level=level, seed=4)
    assert got == pytest.approx(scipy_interval(VALUES, "BCa", level, seed=4), rel=1e-15)
    assert got != pytest.approx(scipy_interval(VALUES, "percentile", level, seed=4), rel=1e-4)
    assert got[0] < np.mean(VALUES) < got[1]


def test_it_is_reproducible_and_depends_on_the_seed():
    assert bootstrap_interval(VALUES) == bootstrap_interval(VALUES)
    assert bootstrap_interval(VALUES, n_resamples=200) != bootstrap_interval(VALUES, n_resamples=200, seed=1)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_too_few_values_have_no_interval(values):
    assert all(math.isnan(end) for end in bootstrap_interval(values))


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap_interval([0.7] * 4) == (0.7, 0.7)


def test_where_bca_is_degenerate_the_percentile_interval_is_given():
    values = [1.0, 1.0, 1.0 + 2.0**-52]
    assert bootstrap_interval(values) == scipy_interval(values, "percentile")
    assert all(math.isfinite(end) for end in bootstrap_interval(values))


OTHER = [0.7, 0.4, 0.8, 1.2]


def test_of_two_samples_it_is_scipy_s_of_the_difference_of_means():
    def difference(x, y, axis=-1):
        return x.mean(axis) - y.mean(axis)

    want = stats.bootstrap(
        (np.array(VALUES), np.array(OTHER)), difference, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert bootstrap_interval(VALUES, OTHER, seed=3) == pytest.approx(tuple(want), rel=1e-12)
    low, high = bootstrap_interval(VALUES, OTHER)
    assert low < np.mean(VALUES) - np.mean(OTHER) < high


@pytest.mark.parametrize("samples", [([1.0], [1.0, 2.0]), ([1.0, 2.0], [])])
def test_both_samples_need_two_values(samples):
    assert all(math.isnan(end) for end in bootstrap_interval(*samples))


def test_two_samples_that_do_not_vary_differ_by_a_point_and_one_that_varies_is_enough():
    assert bootstrap_interval([0.5] * 3, [0.25] * 4) == (0.25, 0.25)
    low, high = bootstrap_interval([0.5] * 3, OTHER)
    assert low < 0.5 - np.mean(OTHER) < high


# shares that the docstring of bootstrap_interval states
COVERAGE = {
    ("normal", 5): 0.84,
    ("normal", 10): 0.89,
    ("normal", 20): 0.93,
    ("exponential", 5): 0.79,
    ("exponential", 10): 0.88,
    ("exponential", 20): 0.92,
}
SAMPLES = 300


@pytest.mark.parametrize(("shape", "n"), COVERAGE)
def test_coverage_is_what_is_said(shape, n):
    rng = np.random.default_rng(10)
    samples, mean = {
        "normal": lambda: (rng.normal(size=(SAMPLES, n)), 0),
        "exponential": lambda: (rng.exponential(size=(SAMPLES, n)), 1),
    }[shape]()
    ends = np.array([bootstrap_interval(sample, n_resamples=999) for sample in samples])
    said = COVERAGE[shape, n]
    # 3.5 binomial standard errors: false alarms in 1 of 2000 runs of one case, with another seed
    tolerance = 3.5 * math.sqrt(said * (1 - said) / SAMPLES) + 0.005
    assert ((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean() == pytest.approx(said, abs=tolerance)


def test_values_that_are_not_numbers_are_refused():
    for samples in ([[1.0, float("nan"), 2.0]], [[1.0, 2.0], [1.0, float("nan"), 2.0]]):
        with pytest.raises(DataError, match=r"bootstrap_interval: expected .* found 1 values not finite"):
            bootstrap_interval(*samples)
    with pytest.raises(DataError, match=r"array of shape \(2, 2\)"):
        bootstrap_interval([[1.0, 2.0], [3.0, 4.0]])
