"""Effect sizes with intervals: a difference in units of the spread between seeds."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, nctdtrinc

from clntk.stats.sample import Values, checked, spread


class Effect(NamedTuple):
    """An effect size without unit, and its confidence interval."""

    size: float
    low: float
    high: float


NO_EFFECT_SIZE = Effect(math.nan, math.nan, math.nan)


def hedges_g_paired(differences: Values, *, level: float = 0.95) -> Effect:
    """Standardised mean of paired differences, corrected for small samples, with its interval.

    g = J(n−1) · mean/sd, with sd over n−1 and J(m) = Γ(m/2)/(√(m/2) Γ((m−1)/2)). The sign is that of the mean. The
    interval holds all δ = μ/σ for which t = √n · mean/sd is not surprising: √n · δ is the noncentrality of t. It
    is exact for normal differences. For skewed ones it is too narrow: of 4000 samples of centred exponential
    differences a 95 % interval held δ = 0 in .89 (n = 5), .90 (n = 10) and .92 (n = 20).

    Args:
        differences: shape (seeds,), one condition minus the other, without NaN.
        level: the confidence level, in (0, 1).

    Returns:
        NaN for fewer than three differences (at n = 2 the correction is exactly zero, since the uncorrected index
        has no finite expectation), and where the differences do not vary beyond rounding.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: J of Hedges 1981, "Distribution theory for Glass's estimator of effect size"; mean/sd is d_z of Cohen
    1988; the interval after Steiger & Fouladi 1997, "Noncentrality interval estimation".
    """
    sample = checked(differences, "hedges_g_paired")
    if len(sample) < 3:
        return NO_EFFECT_SIZE
    return _effect(sample.mean(), spread(sample), df=len(sample) - 1, effective=len(sample), level=level)


def hedges_g_independent(values: Values, other: Values, *, level: float = 0.95) -> Effect:
    """Standardised difference of the means of two independent samples, corrected, with its interval.

    g = J(n+m−2) · (mean of values − mean of other)/s, with s the standard deviation within samples, pooled: the
    samples are taken to vary alike (if 4 vary four times as much as 7 others, a 95 % interval of equal means holds 0
    in .84 of 4000 pairs of samples). For J and the interval see :func:`hedges_g_paired`; here t = g/J · √(nm/(n+m)).

    Args:
        values, other: shapes (n,) and (m,), without NaN.
        level: the confidence level, in (0, 1).

    Returns:
        NaN where either sample has fewer than two values, and where neither varies beyond rounding.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: Hedges 1981, "Distribution theory for Glass's estimator of effect size".
    """
    a, b = (checked(each, "hedges_g_independent") for each in (values, other))
    n, m = len(a), len(b)
    if min(n, m) < 2:
        return NO_EFFECT_SIZE
    return _effect(a.mean() - b.mean(), spread(a, b), df=n + m - 2, effective=n * m / (n + m), level=level)


def _effect(difference: float, sd: float, *, df: int, effective: float, level: float) -> Effect:
    """The effect whose t statistic is √effective · difference/sd with so many degrees of freedom."""
    if sd == 0:
        return NO_EFFECT_SIZE
    correction = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    root = math.sqrt(effective)
    tails = np.array([1 + level, 1 - level]) / 2
    low, high = nctdtrinc(df, tails, root * difference / sd) / root
    return Effect(float(correction * difference / sd), float(low), float(high))
