"""The comparison of conditions: estimates, differences from a baseline, effect sizes, p-values.

The seed is the unit of replication: estimates are means over seeds, differences are taken seed by seed over the
seeds that both conditions have (or between independent samples), and runs with different settings are never pooled.
Values that are not finite count as missing. The columns of the table:

- measure; the condition, under the name of what is compared (regime); n: how many seeds have a value;
- estimate, low, high: the mean over seeds and its bootstrap interval, which is too narrow for few seeds:
  :func:`~clntk.stats.intervals.bootstrap_interval` says by how much;
- baseline, and n_pairs: how many seeds both conditions have; 0 in the baseline's own rows, where all statistics that
  follow are NaN, and for independent samples;
- difference, diff_low, diff_high: condition − baseline, and its bootstrap interval;
- effect_size, effect_low, effect_high: Hedges' g, of pairs or of independent samples (:mod:`clntk.stats.effects`);
- test: "sign flip" of pairs or "permutation" of independent samples (:mod:`clntk.stats.permutation`);
- p, and smallest_p: the smallest that so many seeds could have given, 1 where there is no test;
- detectable: the smallest difference that so many seeds would have shown at p ≤ 1 − level, before correction, with
  80 % power at the spread observed; infinite if none, however large (:mod:`clntk.stats.power`);
- p_corrected, correction: p corrected over the measures of one condition and setting, by Holm's method ("holm":
  family-wise error) or Benjamini and Hochberg's ("fdr": false discovery rate).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from clntk.axes import REGIME, SEED
from clntk.errors import DataError, did_you_mean
from clntk.stats.contrasts import Contrast, independent, no_contrast, paired
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.tidy import finite, need_columns, need_one_value_each, reference

MEASURE = "measure"
VALUE = "value"

Correction = Literal["holm", "fdr"]


def compare_table(
    scalars: pd.DataFrame,
    *,
    groups: Sequence[Any],
    by: str = REGIME,
    within: Sequence[str] = (),
    baseline: Any = None,
    pair: bool = True,
    level: float = 0.95,
    seed: int = 0,
    correction: Correction = "holm",
) -> pd.DataFrame:
    """Every condition's estimate of every measure, and its difference from the baseline condition.

    Args:
        scalars: tidy, one row a run and measure: columns seed, measure, value, ``by`` and those in ``within``.
        groups: the values of ``by`` to compare, in the order of the rows; others in the table are left out.
        by: the column that tells apart what is compared.
        within: columns, such as swept settings, that split the table into separate comparisons.
        baseline: the group that differences are taken from; by default the first.
        pair: whether differences are taken seed by seed; otherwise groups are independent samples.
        level: confidence level of the intervals; 1 − level is the p that counts as shown for ``detectable``.
        seed: of the bootstrap and of the Monte Carlo p-values.
        correction: over the measures: "holm" or "fdr".

    Returns:
        tidy, one row per (within…, measure, group), measures in order of first appearance; the columns are those
        in ``within`` and then the ones described at the top of this module.

    Raises:
        DataError: for an empty table, missing columns, groups of which the table has none, a baseline that is not
            among them, an unknown correction, or several values for one (within, group, seed, measure).
    """
    within = list(within)
    if correction not in _CORRECTIONS:
        raise DataError(
            f"compare_table, correction: expected one of {', '.join(_CORRECTIONS)}, found {correction!r}; "
            f"{did_you_mean(correction, _CORRECTIONS) or 'choose one of them'}"
        )
    scalars = _checked(scalars, groups, by, within)
    base = reference(baseline, groups, "compare_table")
    contrast = paired if pair else independent
    rows = [
        {**labels, by: group, **_row(wide, group, base, contrast, level=level, seed=seed)}
        for labels, wide in _by_measure(scalars, groups, by, within)
        for group in groups
    ]
    table = _ordered(pd.DataFrame(rows), [*within, MEASURE, by], "sign flip" if pair else "permutation")
    return _corrected(table, [*within, by], correction)


def compared(comparison: pd.DataFrame) -> tuple[list[str], str]:
    """What splits a comparison into separate ones, and what it compares: the columns before and after the measure."""
    columns = list(comparison.columns)
    place = columns.index(MEASURE)
    return columns[:place], columns[place + 1]


def _checked(scalars: pd.DataFrame, groups: Sequence[Any], by: str, within: list[str]) -> pd.DataFrame:
    """The rows of the groups compared, once it is certain that each is a value of its own."""
    keys = [*within, by, SEED, MEASURE]
    need_columns(scalars, [*keys, VALUE], "compare_table, scalars")
    known = list(dict.fromkeys(scalars[by]))
    scalars = scalars[scalars[by].isin(groups)]
    if scalars.empty:
        raise DataError(
            f"compare_table, groups: expected some of {', '.join(map(str, known))}, found "
            f"{', '.join(map(str, groups)) or 'none'}; name values of {by} that the table has"
        )
    need_one_value_each(scalars, keys, "compare_table, scalars")
    return scalars.assign(**{VALUE: finite(scalars[VALUE])})


def _by_measure(
    scalars: pd.DataFrame, groups: Sequence[Any], by: str, within: list[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """For each (within…, measure): its labels, and its values with shape (seed, group), NaN where missing."""
    measures = list(dict.fromkeys(scalars[MEASURE]))
    parts = scalars.groupby(within, sort=False, dropna=False) if within else [((), scalars)]
    for key, part in parts:
        for measure in measures:
            rows = part[part[MEASURE] == measure]
            if len(rows):
                wide = rows.pivot(index=SEED, columns=by, values=VALUE).reindex(columns=list(groups))
                yield dict(zip(within, key, strict=True)) | {MEASURE: measure}, wide


def _row(
    wide: pd.DataFrame, group: Any, base: Any, contrast: Contrast, *, level: float, seed: int
) -> dict[str, Any]:
    """One group's estimate and difference, from the values of one measure with shape (seed, group)."""
    values = wide[group].dropna()
    low, high = bootstrap_interval(values, level=level, seed=seed)
    return {
        "n": len(values),
        "estimate": values.mean(),
        "low": low,
        "high": high,
        "baseline": base,
        **(no_contrast() if group == base else contrast(wide[group], wide[base], level=level, seed=seed)),
    }


def _ordered(table: pd.DataFrame, keys: list[str], test: str) -> pd.DataFrame:
    table.insert(table.columns.get_loc("p"), "test", test)
    return table[[*keys, *(column for column in table.columns if column not in keys)]]


def _corrected(table: pd.DataFrame, family: list[str], correction: Correction) -> pd.DataFrame:
    """The table with p corrected over the measures of each (within…, group); a p that is NaN is no test."""
    table = table.assign(p_corrected=np.nan, correction=correction)
    for _, tests in table[table["p"].notna()].groupby(family, sort=False, dropna=False):
        table.loc[tests.index, "p_corrected"] = _CORRECTIONS[correction](tests["p"].to_numpy())
    return table


def _holm(p: np.ndarray) -> np.ndarray:
    # statsmodels' multipletests collects garbage at each call, half a second where torch is loaded
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(steps, 1)[np.argsort(order)]


_CORRECTIONS = {"holm": _holm, "fdr": false_discovery_control}
