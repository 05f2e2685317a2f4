"""Permutation tests of a difference over a handful of seeds, and the smallest p that they can give."""

import math

import numpy as np
from scipy import stats

from clntk.stats.sample import Values, checked

N_RESAMPLES = 9999  # with the observed sample, 10 000: Monte Carlo p-values come in steps of 1e-4


def sign_flip_p(differences: Values, *, seed: int = 0) -> float:
    """Two-sided p-value of the mean difference under random flips of sign.

    Under the null hypothesis each pair's difference is as likely to be of one sign as of the other. All 2^n
    flips are enumerated up to n = 13; beyond that :data:`N_RESAMPLES` are drawn, and the observed one is
    counted with them. Exact where differences are symmetric about zero, as they are between two conditions with the
    same distribution. Not exact where only their mean is zero: of 4000 samples of centred exponential differences
    p ≤ .05 in .06 (n = 6), .10 (n = 10) and .08 (n = 20).

    Args:
        differences: shape (seeds,), one condition minus the other, without NaN.
        seed: of the generator that draws flips, when not all are enumerated.

    Returns:
        p in (0, 1]; NaN for fewer than two differences.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: Fisher's randomisation test for pairs; computed by :func:`scipy.stats.permutation_test`.
    """
    sample = checked(differences, "sign_flip_p")
    if len(sample) < 2:
        return math.nan
    return _p((sample,), np.mean, "samples", seed)


def permutation_p(values: Values, other: Values, *, seed: int = 0) -> float:
    """Two-sided p-value of the difference of two independent means, as values change sides at random.

    The statistic is Welch's t. The test is exact for equal distributions, whatever they are, and for equal means with
    unequal spreads holds in large samples only: of 1500 pairs of normal samples with one standard deviation four
    times the other, p ≤ .05 in .08 at 5 and 5 seeds, and at 4 and 7 in .03 if the larger sample varies more but .14
    if the smaller does. Up to :data:`N_RESAMPLES` partitions are enumerated; beyond that so many are drawn, and the
    observed one is counted with them.

    Args:
        values, other: shapes (n,) and (m,), without NaN.
        seed: of the generator that draws partitions, when not all are enumerated.

    Returns:
        p in (0, 1]; NaN where either sample has fewer than two values.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: Janssen 1997, "Studentized permutation tests for non-i.i.d. hypotheses and the generalized
    Behrens-Fisher problem"; computed by :func:`scipy.stats.permutation_test`.
    """
    samples = tuple(checked(each, "permutation_p") for each in (values, other))
    if min(map(len, samples)) < 2:
        return math.nan
    return _p(samples, _welch, "independent", seed)


def smallest_p(n: int, other: int | None = None) -> float:
    """The smallest p-value that so many seeds can give, however large the difference.

    2/2^n for n pairs, 2/(n+m choose n) for independent samples of n and m, where all rearrangements are enumerated;
    the step of the Monte Carlo p-value beyond; 1 where there is no test.

    Args:
        n: pairs of :func:`sign_flip_p`, or the size of the first sample of :func:`permutation_p`.
        other: the size of its second.
    """
    if min(n, n if other is None else other) < 2:
        return 1.0
    rearrangements = 2**n if other is None else math.comb(n + other, n)
    return min(1.0, max(2 / rearrangements, 2 / (N_RESAMPLES + 1)))


def _p(samples: tuple[np.ndarray, ...], statistic: object, kind: str, seed: int) -> float:
    rng = np.random.default_rng(seed)
    options = {"permutation_type": kind, "n_resamples": N_RESAMPLES, "rng": rng}
    return float(stats.permutation_test(samples, statistic, **options).pvalue)


def _welch(values: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    """Welch's t as t/√(1 + t²): of the same order, and finite where neither side varies."""
    difference = values.mean(axis) - other.mean(axis)
    variances = (each.var(axis, ddof=1) / each.shape[axis] for each in (values, other))
    length = np.hypot(difference, np.sqrt(sum(variances)))
    return np.divide(difference, length, out=np.zeros_like(length), where=length > 0)
