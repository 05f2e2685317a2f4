"""Effect sizes by hand, their intervals by root finding on the noncentral t distribution, and their coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from clntk.errors import DataError
from clntk.stats.effects import hedges_g_independent, hedges_g_paired


def test_hedges_by_hand():
    # mean 2, sd 1, J(2) = Γ(1)/(√1 Γ(½)) = 1/√π
    assert hedges_g_paired([1, 2, 3]).size == pytest.approx(2 / math.sqrt(math.pi), rel=1e-12)
    # mean 2, sd √(10/3), J(3) = Γ(3/2)/(√(3/2) Γ(1)) = √(π/6)
    assert hedges_g_paired([0, 1, 3, 4]).size == pytest.approx(
        math.sqrt(math.pi / 6) * 2 / math.sqrt(10 / 3), rel=1e-12
    )
    assert hedges_g_paired([-1, -2, -3]).size == -hedges_g_paired([1, 2, 3]).size


def test_hedges_correction_is_near_its_usual_approximation():
    differences = np.random.default_rng(0).normal(1, 1, size=12)
    plain = differences.mean() / differences.std(ddof=1)
    assert hedges_g_paired(differences).size == pytest.approx(plain * (1 - 3 / (4 * 11 - 1)), rel=1e-3)


@pytest.mark.parametrize(
    "differences", [[], [1.0], [1.0, 2.0], [0.0] * 5, [0.1] * 5, [0.3 - 0.2, 0.1, 0.4 - 0.3]]
)
def test_hedges_is_nan_where_it_means_nothing(differences):
    assert all(map(math.isnan, hedges_g_paired(differences)))


def noncentrality(t, df, tail):
    return brentq(lambda d: stats.nct.cdf(t, df, d) - tail, t - 8, t + 8)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, 3.0], [-0.2, 0.1, 0.3, 0.4, -0.5], [-3.0, -2.0, -2.5, 0.0]]
)
def test_the_interval_of_pairs_inverts_the_noncentral_t_distribution(differences, level):
    n, t = len(differences), stats.ttest_1samp(differences, 0).statistic
    sign = np.sign(t)  # SciPy's nct.cdf is accurate for positive t
    ends = sorted(sign * noncentrality(abs(t), n - 1, (1 + s * level) / 2) / math.sqrt(n) for s in (1, -1))
    effect = hedges_g_paired(differences, level=level)
    assert (effect.low, effect.high) == pytest.approx(ends, rel=1e-4)
    assert effect.low < effect.size < effect.high


def test_independent_samples_by_hand():
    # means 4 and 1; squares about them 2 and 2, so that the pooled variance is 4/3 with 3 degrees of freedom
    effect = hedges_g_independent([3, 5], [0, 1, 2])
    correction = math.sqrt(math.pi / 6)  # J(3) = Γ(3/2)/(√(3/2) Γ(1))
    assert effect.size == pytest.approx(correction * 3 / math.sqrt(4 / 3), rel=1e-12)
    t = stats.ttest_ind([3, 5], [0, 1, 2]).statistic
    ends = [noncentrality(t, 3, tail) * math.sqrt(5 / 6) for tail in (0.975, 0.025)]
    assert (effect.low, effect.high) == pytest.approx(ends, rel=1e-4)
    mirrored = hedges_g_independent([0, 1, 2], [3, 5])
    assert mirrored == pytest.approx((-effect.size, -effect.high, -effect.low), rel=1e-4)


@pytest.mark.parametrize(
    "samples", [([], [1, 2]), ([1], [1, 2]), ([1, 2], [3]), ([1, 1], [2, 2]), ([0.1] * 3, [0.3 - 0.2] * 2)]
)
def test_independent_samples_where_it_means_nothing(samples):
    assert all(map(math.isnan, hedges_g_independent(*samples)))


values = st.lists(st.integers(-50, 50), min_size=3, max_size=8, unique=True)


@given(values, st.floats(0.01, 100))
def test_effect_sizes_have_no_unit(sample, scale):
    scaled = hedges_g_paired(np.array(sample) * scale)
    assert scaled == pytest.approx(hedges_g_paired(sample), rel=1e-4, abs=1e-6)


@given(values, values, st.floats(-100, 100))
def test_an_independent_effect_does_not_change_with_a_shift_of_both(a, b, shift):
    moved = hedges_g_independent(np.array(a) + shift, np.array(b) + shift)
    assert moved == pytest.approx(hedges_g_independent(a, b), rel=1e-4, abs=1e-6)


SAMPLES = 2000


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_coverage_for_normal_values_is_exact_and_g_is_unbiased(n, effect):
    rng = np.random.default_rng(n)
    pairs = [hedges_g_paired(x) for x in rng.normal(effect, 1, size=(SAMPLES, n))]
    others = rng.normal(0, 1, size=(SAMPLES, n))
    apart = [
        hedges_g_independent(x + effect, y)
        for x, y in zip(rng.normal(size=(SAMPLES, n)), others, strict=True)
    ]
    for found in (np.array(pairs), np.array(apart)):
        held = ((found[:, 1] <= effect) & (effect <= found[:, 2])).mean()
        assert held == pytest.approx(0.95, abs=3.5 * math.sqrt(0.95 * 0.05 / SAMPLES))
        assert found[:, 0].mean() == pytest.approx(effect, abs=3.5 * found[:, 0].std() / math.sqrt(SAMPLES))


def test_values_that_are_not_numbers_are_refused():
    with pytest.raises(DataError, match=r"hedges_g_paired: expected .* found 1 values not finite"):
        hedges_g_paired([1.0, float("nan"), 2.0])
    with pytest.raises(DataError, match=r"hedges_g_independent: .* array of shape \(2, 2\)"):
        hedges_g_independent([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]])
