"""The comparison of regimes: estimates, paired differences on shared seeds, effect sizes, p-values.

The seed is the unit of replication: estimates are means over seeds, differences are taken seed by seed over
the seeds that both regimes have, and runs with different settings are never pooled. Values that are not
finite count as missing. The columns of the table:

- measure, regime, and n: how many seeds have a value; 0 for a regime without any;
- estimate, low, high: the mean over seeds and its bootstrap interval;
- baseline, and n_pairs: how many seeds both regimes have; 0 in the baseline's own rows, where all that
  follows is NaN;
- difference, diff_low, diff_high: regime − baseline over these seeds, and its bootstrap interval;
- effect_size: :func:`~clntk.stats.intervals.hedges_g_paired`; p: :func:`~clntk.stats.intervals.sign_flip_p`;
- p_holm: p corrected by Holm's method over the measures of one regime and one setting.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from clntk.axes import REGIME, SEED
from clntk.errors import DataError, did_you_mean
from clntk.stats.intervals import bootstrap_interval, hedges_g_paired, sign_flip_p

MEASURE = "measure"
VALUE = "value"


def compare_table(
    scalars: pd.DataFrame,
    *,
    regimes: list[str],
    baseline: str | None = None,
    by: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every regime's estimate of every measure, and its paired difference from the baseline regime.

    Args:
        scalars: tidy, one row a run and measure: columns regime, seed, measure, value and those in ``by``.
        regimes: those to compare, in the order of the rows; others in the table are left out.
        baseline: the regime that differences are taken from; by default the first.
        by: columns, such as swept settings, that split the table into separate comparisons.
        level: confidence level of the intervals.
        seed: of the bootstrap and of the Monte Carlo p-values.

    Returns:
        tidy, one row per (by…, measure, regime), measures in order of first appearance; the columns are those
        in ``by`` and then the ones described at the top of this module.

    Raises:
        DataError: for an empty table, missing columns, regimes of which the table has none, a baseline that
            is not among them, or several values for one (by, regime, seed, measure).
    """
    by = list(by)
    scalars = _checked(scalars, regimes, by)
    baseline = regimes[0] if baseline is None else baseline
    if baseline not in regimes:
        raise DataError(
            f"compare_table, baseline: expected one of {', '.join(regimes)}, found {baseline!r}; "
            f"{did_you_mean(baseline, regimes) or 'choose one of the regimes compared'}"
        )
    rows = [
        labels | _row(wide, regime, baseline, level=level, seed=seed)
        for labels, wide in _by_measure(scalars, regimes, by)
        for regime in regimes
    ]
    return _with_holm(pd.DataFrame(rows), by)


def _checked(scalars: pd.DataFrame, regimes: list[str], by: list[str]) -> pd.DataFrame:
    """The rows of the regimes compared, once it is certain that each is a value of its own."""
    if scalars.empty:
        raise DataError(
            "compare_table, scalars: expected some values, found an empty table; are any runs finished?"
        )
    keys = [*by, REGIME, SEED, MEASURE]
    missing = [column for column in [*keys, VALUE] if column not in scalars.columns]
    if missing:
        raise DataError(
            f"compare_table, scalars: expected the columns {', '.join([*keys, VALUE])}, found no "
            f"{', '.join(missing)}; the table has {', '.join(map(str, scalars.columns)) or 'none'}"
        )
    known = list(dict.fromkeys(scalars[REGIME]))
    scalars = scalars[scalars[REGIME].isin(regimes)]
    if scalars.empty:
        raise DataError(
            f"compare_table, regimes: expected some of {', '.join(map(str, known))}, found "
            f"{', '.join(map(str, regimes)) or 'none'}; name regimes that the table has"
        )
    repeated = scalars[scalars.duplicated(keys, keep=False)]
    if len(repeated):
        first = ", ".join(f"{key}={repeated.iloc[0][key]}" for key in keys)
        raise DataError(
            f"compare_table, scalars: expected one value per ({', '.join(keys)}), found {len(repeated)} rows "
            f"that share theirs, the first at {first}; name what distinguishes them in by=, or leave the "
            "surplus runs out"
        )
    return scalars


def _by_measure(
    scalars: pd.DataFrame, regimes: list[str], by: list[str]
) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """For each (by…, measure): its labels, and its values with shape (seed, regime), NaN where missing."""
    scalars = scalars.assign(**{VALUE: scalars[VALUE].astype(float).replace([np.inf, -np.inf], np.nan)})
    measures = list(dict.fromkeys(scalars[MEASURE]))
    groups = scalars.groupby(by, sort=False, dropna=False) if by else [((), scalars)]
    for key, group in groups:
        for measure in measures:
            rows = group[group[MEASURE] == measure]
            if len(rows):
                wide = rows.pivot(index=SEED, columns=REGIME, values=VALUE).reindex(columns=regimes)
                yield dict(zip(by, key, strict=True)) | {MEASURE: measure}, wide


def _row(wide: pd.DataFrame, regime: str, baseline: str, *, level: float, seed: int) -> dict[str, object]:
    """One regime's estimate and difference, from the values of one measure with shape (seed, regime)."""
    values = wide[regime].dropna()
    paired = (wide[regime] - wide[baseline]).dropna() if regime != baseline else values.iloc[:0]
    low, high = bootstrap_interval(values, level=level, seed=seed)
    diff_low, diff_high = bootstrap_interval(paired, level=level, seed=seed)
    return {
        REGIME: regime,
        "n": len(values),
        "estimate": values.mean(),
        "low": low,
        "high": high,
        "baseline": baseline,
        "n_pairs": len(paired),
        "difference": paired.mean(),
        "diff_low": diff_low,
        "diff_high": diff_high,
        "effect_size": hedges_g_paired(paired),
        "p": sign_flip_p(paired, seed=seed),
    }


def _with_holm(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The table with p corrected over the measures of each (by…, regime); a p that is NaN is no test."""
    from statsmodels.stats.multitest import multipletests

    table["p_holm"] = np.nan
    for _, family in table[table["p"].notna()].groupby([*by, REGIME], sort=False, dropna=False):
        table.loc[family.index, "p_holm"] = multipletests(family["p"], method="holm")[1]
    return table
