"""Bootstrap intervals for a handful of seeds; the seed is the unit of replication."""

import math
import warnings

import numpy as np
from scipy import stats

from clntk.stats.sample import Values, checked

N_RESAMPLES = 9999


def bootstrap_interval(
    values: Values,
    other: Values | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap confidence interval of a mean, or of a difference of means: bias-corrected and accelerated (BCa).

    With few seeds it is too narrow, since it cannot reach beyond the data. Share of 4000 samples in which a 95 %
    interval of 1999 resamples held the mean (binomial standard error at most .008):

    ============  =====  =====  ======  ======
    values        n = 3  n = 5  n = 10  n = 20
    ============  =====  =====  ======  ======
    normal         .72    .84     .89     .93
    exponential    .68    .79     .88     .92
    ============  =====  =====  ======  ======

    Of the difference of two independent samples of n each (1000 pairs): normal .80, .87, .92, .93; exponential .81,
    .85, .89, .89.

    Args:
        values: shape (seeds,), without NaN.
        other: a second, independent sample with shape (other seeds,); the interval is then that of the mean of
            ``values`` minus its mean.
        level: the confidence level, in (0, 1).
        n_resamples: how many bootstrap samples.
        seed: of the generator that draws them.

    Returns:
        (low, high) in the units of the values. (NaN, NaN) if a sample has fewer than two values, an interval of no
        width if none varies. Where BCa is degenerate (values that differ only by rounding), the percentile interval.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: Efron 1987, "Better bootstrap confidence intervals"; computed by :func:`scipy.stats.bootstrap`.
    """
    samples = [checked(each, "bootstrap_interval") for each in (values, other) if each is not None]
    if min(map(len, samples)) < 2:
        return math.nan, math.nan
    if all(np.ptp(sample) == 0 for sample in samples):
        point = float(samples[0][0] - (samples[1][0] if other is not None else 0))
        return point, point

    def interval(method: str) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        options = {"n_resamples": n_resamples, "confidence_level": level, "method": method, "rng": rng}
        low, high = stats.bootstrap(samples, _difference, **options).confidence_interval
        return float(low), float(high)

    # where BCa is degenerate it warns and gives NaN, and that is answered by the percentile interval
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        accelerated = interval("BCa")
    return accelerated if np.isfinite(accelerated).all() else interval("percentile")


def _difference(values: np.ndarray, other: np.ndarray | None = None, axis: int = -1) -> np.ndarray:
    return values.mean(axis) - (0 if other is None else other.mean(axis))
