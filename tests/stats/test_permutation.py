"""Permutation tests against enumeration, and their rate of false positives."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from clntk.errors import DataError
from clntk.stats.permutation import permutation_p, sign_flip_p, smallest_p


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


def welch(a, b):
    return stats.ttest_ind(a, b, equal_var=False).statistic


def enumerated_independent_p(a, b):
    """Twice the smaller tail of Welch's t over all partitions."""
    pooled, n, observed = [*a, *b], len(a), welch(a, b)
    t = []
    for chosen in itertools.combinations(range(len(pooled)), n):
        rest = [pooled[i] for i in range(len(pooled)) if i not in chosen]
        t.append(welch([pooled[i] for i in chosen], rest))
    t, margin = np.array(t), 1e-9 * abs(observed)
    return min(1, 2 * min((t >= observed - margin).mean(), (t <= observed + margin).mean()))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.5], [3.0, 4.2]),
        ([0.1, 0.9, 0.4], [0.5, 0.8, 1.7, 0.6]),
        ([1.0, 2.0, 3.5, 9.0], [2.1, 2.2, 2.35, 2.4, 1.9]),
    ],
)
def test_independent_samples_against_enumeration(a, b):
    assert permutation_p(a, b) == pytest.approx(enumerated_independent_p(a, b), rel=1e-12)
    assert permutation_p(b, a) == pytest.approx(permutation_p(a, b), rel=1e-12)


def test_the_statistic_is_studentised():
    # the difference of means alone is as large for other partitions; Welch's t is not
    a, b = [0.0, 0.1, 0.2], [5.0, 1.0, 2.0, 0.5]
    means = stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), permutation_type="independent"
    )
    assert means.pvalue == pytest.approx(2 / 35)
    assert permutation_p([0.0, 0.1, 0.3], [0.25, 4.0, 6.0, 0.35]) == pytest.approx(
        enumerated_independent_p([0.0, 0.1, 0.3], [0.25, 4.0, 6.0, 0.35])
    )


def test_beyond_enumeration_it_is_close_to_the_exact_t_test_and_reproducible():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.5, 1, size=12), rng.normal(0, 1, size=11)
    t_test = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert permutation_p(a, b) == pytest.approx(t_test, abs=0.03)
    assert permutation_p(a, b) == permutation_p(a, b)
    assert permutation_p(a, b) != permutation_p(a, b, seed=1)


def test_samples_that_do_not_vary_are_told_apart_only_as_far_as_their_number_allows():
    assert permutation_p([1.0] * 4, [2.0] * 4) == pytest.approx(2 / 70)
    assert permutation_p([1.0] * 4, [1.0] * 4) == 1
    assert permutation_p([0.7] * 3, [0.7] * 5) == 1


@pytest.mark.parametrize("samples", [([], [1.0, 2.0]), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0])])
def test_independent_samples_need_two_values_each(samples):
    assert math.isnan(permutation_p(*samples))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (4, 4), (2, 5), (5, 6), (9, 9)])
def test_the_smallest_p_of_independent_samples_is_reached(n, m):
    p = permutation_p(np.arange(1.0, n + 1), 100 + np.arange(1.0, m + 1) * 1.01)
    # beyond enumeration a drawn partition may be the observed one, or its mirror image
    assert p == pytest.approx(smallest_p(n, m), rel=1e-12)


def test_the_smallest_p_of_few_independent_seeds():
    assert [smallest_p(n, n) for n in (0, 1, 2, 3, 4)] == [1, 1, 1 / 3, 0.1, 2 / 70]
    assert smallest_p(1, 9) == smallest_p(9, 1) == 1


def rate(p_values, alpha):
    return np.mean(np.array(p_values) <= alpha)


SAMPLES = 300

# share of p ≤ alpha under the null hypothesis: nominal, but where the docstring says otherwise
FLIPS = {
    ("normal", 5, 0.0625): 0.0625,
    ("normal", 5, 0.05): 0.0,
    ("normal", 10, 0.05): 0.05,
    ("difference of exponentials", 5, 0.0625): 0.0625,
    ("exponential", 6, 0.05): 0.06,
    ("exponential", 10, 0.05): 0.10,
}
DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "difference of exponentials": lambda rng, size: rng.exponential(size=size) - rng.exponential(size=size),
}


@pytest.mark.parametrize(("shape", "n", "alpha"), FLIPS)
def test_false_positives_of_pairs_are_as_many_as_said(shape, n, alpha):
    differences = DRAWS[shape](np.random.default_rng(n), (SAMPLES, n))
    said = FLIPS[shape, n, alpha]
    # 3.5 binomial standard errors, and the rounding of what is said
    tolerance = 3.5 * math.sqrt(said * (1 - said) / SAMPLES) + 0.005 * (shape == "exponential")
    assert rate([sign_flip_p(d) for d in differences], alpha) == pytest.approx(said, abs=tolerance)


def test_false_positives_of_twenty_pairs():
    differences = np.random.default_rng(20).normal(size=(120, 20))
    tolerance = 3.5 * math.sqrt(0.05 * 0.95 / 120)
    assert rate([sign_flip_p(d) for d in differences], 0.05) == pytest.approx(0.05, abs=tolerance)


@pytest.mark.parametrize("shape", ["normal", "exponential"])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 7)])
def test_false_positives_of_independent_samples(shape, n, m):
    rng = np.random.default_rng(n)
    a, b = DRAWS[shape](rng, (SAMPLES, n)), DRAWS[shape](rng, (SAMPLES, m))
    rates = rate([permutation_p(x, y) for x, y in zip(a, b, strict=True)], 0.05)
    # p comes in steps of 2 in (n+m choose n): the nominal rate is the largest step at or below .05
    steps = math.comb(n + m, n) / 2
    nominal = math.floor(0.05 * steps) / steps
    assert rates == pytest.approx(nominal, abs=3.5 * math.sqrt(nominal * (1 - nominal) / SAMPLES))


@pytest.mark.parametrize("statistic", [sign_flip_p, lambda values: permutation_p([1.0, 2.0], values)])
def test_values_that_are_not_numbers_are_refused(statistic):
    with pytest.raises(DataError, match=r"_p: expected .* found 1 values not finite"):
        statistic([1.0, float("nan"), 2.0])
    with pytest.raises(DataError, match=r"array of shape \(2, 2\)"):
        statistic([[1.0, 2.0], [3.0, 4.0]])
