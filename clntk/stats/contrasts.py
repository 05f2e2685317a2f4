"""One condition against another: the difference with all that qualifies it."""

import math
from collections.abc import Callable

import pandas as pd

from clntk.stats.effects import hedges_g_independent, hedges_g_paired
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.permutation import permutation_p, sign_flip_p, smallest_p
from clntk.stats.power import detectable_independent, detectable_paired
from clntk.stats.sample import spread

Contrast = Callable[..., dict[str, float]]

_FIELDS = (
    *("n_pairs", "difference", "diff_low", "diff_high", "effect_size", "effect_low", "effect_high"),
    *("p", "smallest_p", "detectable"),
)


def no_contrast() -> dict[str, float]:
    """The fields of a contrast where there is none: of the baseline with itself."""
    return dict.fromkeys(_FIELDS, math.nan) | {"n_pairs": 0}


def paired(values: pd.Series, base: pd.Series, *, level: float, seed: int) -> dict[str, float]:
    """Values minus those of the baseline, seed by seed over the seeds that both have.

    Args:
        values, base: indexed by seed, NaN where missing.
        level: the confidence level of intervals; 1 − level is the p that counts as shown.
        seed: of bootstrap and permutations.
    """
    differences = (values - base).dropna().to_numpy()
    n = len(differences)
    sd = spread(differences) if n > 1 else 0.0
    return _fields(
        n,
        differences.mean() if n else math.nan,
        bootstrap_interval(differences, level=level, seed=seed),
        hedges_g_paired(differences, level=level),
        sign_flip_p(differences, seed=seed),
        smallest_p(n),
        detectable_paired(n, sd, alpha=1 - level),
    )


def independent(values: pd.Series, base: pd.Series, *, level: float, seed: int) -> dict[str, float]:
    """The mean of values minus that of the baseline, as of two samples that share nothing; see :func:`paired`."""
    a, b = values.dropna().to_numpy(), base.dropna().to_numpy()
    n, m = len(a), len(b)
    sd = spread(a, b) if min(n, m) > 1 else 0.0
    return _fields(
        0,
        a.mean() - b.mean() if min(n, m) else math.nan,
        bootstrap_interval(a, b, level=level, seed=seed),
        hedges_g_independent(a, b, level=level),
        permutation_p(a, b, seed=seed),
        smallest_p(n, m),
        detectable_independent(n, m, sd, alpha=1 - level),
    )


def _fields(
    n_pairs: int,
    difference: float,
    interval: tuple[float, float],
    effect: tuple[float, float, float],
    *test: float,
) -> dict[str, float]:
    return dict(zip(_FIELDS, (n_pairs, difference, *interval, *effect, *test), strict=True))
