"""The smallest detectable difference against closed forms, statsmodels' power and simulation of the tests."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from clntk.stats.permutation import permutation_p, sign_flip_p
from clntk.stats.power import detectable_independent, detectable_paired


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_five_pairs_can_show_no_difference_however_large(n):
    assert detectable_paired(n, 1.0) == math.inf
    assert detectable_paired(n, 0.0) == math.inf


def test_five_pairs_can_at_another_level():
    assert math.isfinite(detectable_paired(5, 1.0, alpha=1 - 0.9375))
    assert detectable_paired(4, 1.0, alpha=1 - 0.9375) == math.inf
    below = 1 - 1e-12  # as 1 − level may come out
    assert math.isfinite(detectable_paired(5, 1.0, alpha=0.0625 * below))
    assert math.isfinite(detectable_independent(4, 4, 1.0, alpha=2 / 70 * below))


def test_six_pairs_must_all_be_of_one_sign():
    # 2/64 is the only p below .05, so power is Φ(δ)^6
    assert detectable_paired(6, 1.0) == pytest.approx(stats.norm.ppf(0.8 ** (1 / 6)), rel=0.015)


@pytest.mark.parametrize("n", [7, 9])
def test_that_difference_is_shown_in_four_of_five_experiments(n):
    difference = detectable_paired(n, 2.0)
    samples = np.random.default_rng(n + 100).normal(difference, 2.0, size=(200, n))
    shown = np.mean([sign_flip_p(sample) <= 0.05 for sample in samples])
    assert shown == pytest.approx(0.8, abs=3.5 * math.sqrt(0.8 * 0.2 / 200))


@pytest.mark.parametrize("n", [10, 20, 50])
def test_from_ten_pairs_on_it_is_the_t_test_s(n):
    difference = detectable_paired(n, 3.0, alpha=0.01)
    assert TTestPower().power(difference / 3.0, n, 0.01) == pytest.approx(0.8, abs=1e-5)


def test_the_two_ways_meet():
    assert detectable_paired(9, 1.0) == pytest.approx(
        TTestPower().solve_power(nobs=9, alpha=0.05, power=0.8), rel=0.04
    )
    falling = [detectable_paired(n, 1.0) for n in range(6, 14)]
    assert falling == sorted(falling, reverse=True)


def test_independent_samples():
    assert detectable_independent(3, 3, 1.0) == math.inf
    assert detectable_independent(1, 50, 1.0) == math.inf
    difference = detectable_independent(6, 9, 2.0)
    assert TTestIndPower().power(difference / 2.0, 6, 0.05, ratio=1.5) == pytest.approx(0.8, abs=1e-5)
    assert detectable_independent(9, 6, 2.0) == pytest.approx(difference, rel=1e-6)


def test_independent_samples_by_simulation():
    rng, difference = np.random.default_rng(0), detectable_independent(6, 6, 1.0)
    pairs = zip(rng.normal(difference, 1, size=(150, 6)), rng.normal(size=(150, 6)), strict=True)
    shown = np.mean([permutation_p(a, b) <= 0.05 for a, b in pairs])
    assert shown == pytest.approx(0.8, abs=3.5 * math.sqrt(0.8 * 0.2 / 150))


def test_without_spread_it_is_not_known():
    assert math.isnan(detectable_paired(8, 0.0))
    assert math.isnan(detectable_independent(8, 8, 0.0))
