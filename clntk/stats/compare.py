"""The comparison of regimes: estimates, paired differences on shared seeds, effect sizes, p-values."""

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

    The seed is the unit of replication: estimates are means over seeds, differences are taken seed by seed
    over the seeds that both regimes have, and rows with different ``by`` are never pooled. Values that are
    not finite count as missing, and n says how many are left.

    Args:
        scalars: tidy, one row a run and measure: columns regime, seed, measure, value and those in ``by``.
        regimes: those to compare, in the order of the rows; others in the table are left out.
        baseline: the regime that differences are taken from; by default the first.
        by: columns, such as swept settings, that split the table into separate comparisons.
        level: confidence level of the intervals.
        seed: of the bootstrap and of the Monte Carlo p-values.

    Returns:
        tidy, one row per (by…, measure, regime), measures in order of first appearance: the ``by`` columns,
        measure, regime, n, estimate, low, high, baseline, n_pairs, difference (regime − baseline), diff_low,
        diff_high, effect_size (:func:`~clntk.stats.intervals.hedges_g_paired`), p
        (:func:`~clntk.stats.intervals.sign_flip_p`), and p_holm: p corrected by Holm's method over the
        measures of one regime and one ``by``. In the baseline's own rows n_pairs is 0 and all of the
        difference is NaN; a regime without values has n = 0.

    Raises:
        DataError: for an empty table, missing columns, no regimes, a baseline that is not among them, or
            several values for one (by, regime, seed, measure).
    """
    by = list(by)
    _check(scalars, regimes, by)
    baseline = regimes[0] if baseline is None else baseline
    if baseline not in regimes:
        raise DataError(
            f"compare_table, baseline: expected one of {', '.join(regimes)}, found {baseline!r}; "
            f"{did_you_mean(baseline, regimes) or 'choose one of the regimes compared'}"
        )
    rows = []
    for labels, wide in _by_measure(scalars, regimes, by):
        base = wide[baseline]
        for regime in regimes:
            row = labels | {REGIME: regime} | _estimate(wide[regime], level, seed) | {"baseline": baseline}
            paired = wide[regime] - base if regime != baseline else base.iloc[:0]
            rows.append(row | _difference(paired, level, seed))
    return _with_holm(pd.DataFrame(rows), by)


def _check(scalars: pd.DataFrame, regimes: list[str], by: list[str]) -> None:
    keys = [*by, REGIME, SEED, MEASURE]
    missing = [column for column in [*keys, VALUE] if column not in scalars.columns]
    if missing:
        raise DataError(
            f"compare_table, scalars: expected the columns {', '.join([*keys, VALUE])}, found no "
            f"{', '.join(missing)}; the table has {', '.join(map(str, scalars.columns)) or 'none'}"
        )
    if scalars.empty or not regimes:
        found = "an empty table" if scalars.empty else "no regimes"
        raise DataError(
            f"compare_table: expected values of at least one regime, found {found}; are there finished runs?"
        )
    repeated = scalars[scalars.duplicated(keys, keep=False)]
    if len(repeated):
        first = ", ".join(f"{key}={repeated.iloc[0][key]}" for key in keys)
        raise DataError(
            f"compare_table, scalars: expected one value per ({', '.join(keys)}), found {len(repeated)} rows "
            f"that share theirs, the first at {first}; name what distinguishes them in by=, or leave the "
            "surplus runs out"
        )


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


def _estimate(values: pd.Series, level: float, seed: int) -> dict[str, float]:
    known = values.dropna()
    low, high = bootstrap_interval(known, level=level, seed=seed)
    return {"n": len(known), "estimate": known.mean(), "low": low, "high": high}


def _difference(paired: pd.Series, level: float, seed: int) -> dict[str, float]:
    known = paired.dropna()
    low, high = bootstrap_interval(known, level=level, seed=seed)
    return {
        "n_pairs": len(known),
        "difference": known.mean(),
        "diff_low": low,
        "diff_high": high,
        "effect_size": hedges_g_paired(known),
        "p": sign_flip_p(known, seed=seed),
    }


def _with_holm(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The table with p corrected over the measures of each (by…, regime); a p that is NaN is no test."""
    from statsmodels.stats.multitest import multipletests

    table["p_holm"] = np.nan
    for _, family in table[table["p"].notna()].groupby([*by, REGIME], sort=False, dropna=False):
        table.loc[family.index, "p_holm"] = multipletests(family["p"], method="holm")[1]
    return table
