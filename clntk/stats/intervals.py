"""Intervals, effect sizes and p-values for a handful of seeds; the seed is the unit of replication."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.special import gammaln

from clntk.errors import DataError

N_RESAMPLES = 9999  # with the observed sample, 10 000: Monte Carlo p-values come in steps of 1e-4

Values = Sequence[float] | np.ndarray


def _sample(values: Values, where: str) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not np.isfinite(sample).all():
        found = f"{int((~np.isfinite(sample)).sum())} values not finite in an array of shape {sample.shape}"
        raise DataError(
            f"{where}: expected a flat list of finite numbers, one for each seed, found {found}; "
            "leave out the seeds without a value"
        )
    return sample


def bootstrap_interval(
    values: Values, *, level: float = 0.95, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap confidence interval of the mean over seeds: bias-corrected and accelerated (BCa).

    Args:
        values: shape (seeds,), without NaN.
        level: the confidence level, in (0, 1).
        n_resamples: how many bootstrap samples.
        seed: of the generator that draws them.

    Returns:
        (low, high) in the units of the values. (NaN, NaN) for fewer than two values, (v, v) if all are v.
        Where BCa is degenerate (values that differ only by rounding), the percentile interval. With fewer
        than about ten seeds every bootstrap interval is too narrow.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: Efron 1987, "Better bootstrap confidence intervals"; computed by :func:`scipy.stats.bootstrap`.
    """
    sample = _sample(values, "bootstrap_interval")
    if len(sample) < 2:
        return math.nan, math.nan
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])

    def interval(method: str) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        options = {"n_resamples": n_resamples, "confidence_level": level, "method": method, "rng": rng}
        low, high = stats.bootstrap((sample,), np.mean, **options).confidence_interval
        return float(low), float(high)

    # where BCa is degenerate it warns and gives NaN, and that is answered by the percentile interval
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        accelerated = interval("BCa")
    return accelerated if np.isfinite(accelerated).all() else interval("percentile")


def hedges_g_paired(differences: Values) -> float:
    """Standardised mean of paired differences, corrected for small samples.

    g = J(n−1) · mean/sd, with sd over n−1 and J(m) = Γ(m/2)/(√(m/2) Γ((m−1)/2)). Without unit; the sign is
    that of the mean. NaN for fewer than three differences (at n = 2 the correction is exactly zero, since the
    uncorrected index has no finite expectation), and where the differences do not vary beyond rounding.

    Args:
        differences: shape (seeds,), one regime minus the other, without NaN.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: J of Hedges 1981, "Distribution theory for Glass's estimator of effect size"; mean/sd is d_z of
    Cohen 1988.
    """
    sample = _sample(differences, "hedges_g_paired")
    m = len(sample) - 1
    if m < 2:
        return math.nan
    mean, sd = sample.mean(), sample.std(ddof=1)
    if sd <= 1e-12 * abs(mean) or sd == 0:
        return math.nan
    correction = math.exp(gammaln(m / 2) - gammaln((m - 1) / 2)) / math.sqrt(m / 2)
    return float(correction * mean / sd)


def sign_flip_p(differences: Values, *, seed: int = 0) -> float:
    """Two-sided p-value of the mean difference under random flips of sign.

    Under the null hypothesis each pair's difference is as likely to be of one sign as of the other. All 2^n
    flips are enumerated up to n = 13; beyond that :data:`N_RESAMPLES` are drawn, and the observed one is
    counted with them. In (0, 1]; NaN for fewer than two differences.

    Args:
        differences: shape (seeds,), one regime minus the other, without NaN.
        seed: of the generator that draws flips, when not all are enumerated.

    Raises:
        DataError: for values that are not flat or not finite.

    Source: Fisher's randomisation test for pairs; computed by :func:`scipy.stats.permutation_test`.
    """
    sample = _sample(differences, "sign_flip_p")
    if len(sample) < 2:
        return math.nan
    result = stats.permutation_test(
        (sample,),
        np.mean,
        permutation_type="samples",
        n_resamples=N_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def smallest_p(n: int) -> float:
    """The smallest p-value that :func:`sign_flip_p` can return for n pairs: what n seeds could at best show.

    2/2^n where all flips are enumerated, and the step of the Monte Carlo p-value beyond; 1 for n < 2.
    """
    return min(1.0, max(2 / 2**n, 2 / (N_RESAMPLES + 1)))
