"""Intervals, effect sizes and p-values against SciPy called directly, hand calculation and enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from clntk.errors import DataError
from clntk.stats.intervals import bootstrap_interval, hedges_g_paired, sign_flip_p, smallest_p

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


def test_hedges_by_hand():
    # mean 2, sd 1, J(2) = Γ(1)/(√1 Γ(½)) = 1/√π
    assert hedges_g_paired([1, 2, 3]) == pytest.approx(2 / math.sqrt(math.pi), rel=1e-12)
    # mean 2, sd √(10/3), J(3) = Γ(3/2)/(√(3/2) Γ(1)) = √(π/6)
    assert hedges_g_paired([0, 1, 3, 4]) == pytest.approx(
        math.sqrt(math.pi / 6) * 2 / math.sqrt(10 / 3), rel=1e-12
    )
    assert hedges_g_paired([-1, -2, -3]) == -hedges_g_paired([1, 2, 3])


def test_hedges_correction_is_near_its_usual_approximation():
    differences = np.random.default_rng(0).normal(1, 1, size=12)
    plain = differences.mean() / differences.std(ddof=1)
    assert hedges_g_paired(differences) == pytest.approx(plain * (1 - 3 / (4 * 11 - 1)), rel=1e-3)


@pytest.mark.parametrize(
    "differences", [[], [1.0], [1.0, 2.0], [0.0] * 5, [0.1] * 5, [0.3 - 0.2, 0.1, 0.4 - 0.3]]
)
def test_hedges_is_nan_where_it_means_nothing(differences):
    assert math.isnan(hedges_g_paired(differences))


def enumerated_p(differences):
    """The share of all sign patterns whose mean is at least as far from zero."""
    observed = abs(math.fsum(differences))
    flips = itertools.product([1, -1], repeat=len(differences))
    sums = [abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
    return sum(s >= observed * (1 - 1e-12) for s in sums) / len(sums)


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 2.0],
        [1.0, -1.0],
        [1.0, 2.0, -0.5],
        [0.2, 0.1, 0.3, 0.3],
        [0.0, 0.0, 0.1, -0.2, 0.4],
        [0.0, 0.0, 0.0],
        np.random.default_rng(0).normal(0.4, 1, size=8),
        np.random.default_rng(1).normal(0.4, 1, size=12),
    ],
)
def test_sign_flips_against_enumeration(differences):
    assert sign_flip_p(differences) == pytest.approx(enumerated_p(list(differences)), rel=1e-12)
    assert sign_flip_p([-d for d in differences]) == pytest.approx(sign_flip_p(differences), rel=1e-12)


def test_beyond_thirteen_pairs_it_is_close_to_the_enumeration():
    differences = np.random.default_rng(2).normal(0.4, 1, size=14)
    exact = enumerated_p(list(differences))
    # four standard errors of a Monte Carlo p-value from 9999 draws, twice: it doubles the smaller tail
    assert sign_flip_p(differences) == pytest.approx(exact, abs=8 * math.sqrt(exact / 2 / 9999))
    assert sign_flip_p(differences) == sign_flip_p(differences)


@pytest.mark.parametrize("differences", [[], [1.0]])
def test_sign_flips_need_two_pairs(differences):
    assert math.isnan(sign_flip_p(differences))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 13, 14, 20])
def test_the_smallest_p_is_reached_by_differences_of_one_sign(n):
    assert sign_flip_p(np.arange(1.0, n + 1)) == pytest.approx(smallest_p(n), rel=1e-12)


def test_the_smallest_p_of_few_seeds():
    assert [smallest_p(n) for n in (0, 1, 2, 3, 5, 6)] == [1.0, 1.0, 0.5, 0.25, 0.0625, 0.03125]


@pytest.mark.parametrize("statistic", [bootstrap_interval, hedges_g_paired, sign_flip_p])
def test_values_that_are_not_numbers_are_refused(statistic):
    with pytest.raises(DataError, match=f"{statistic.__name__}: expected .* found 1 values not finite"):
        statistic([1.0, float("nan"), 2.0])
    with pytest.raises(DataError, match=r"array of shape \(2, 2\)"):
        statistic([[1.0, 2.0], [3.0, 4.0]])
