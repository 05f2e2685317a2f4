"""Trajectories compared: a mixed model of a value over steps or checkpoints, with the seed as a random effect."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from clntk.axes import REGIME, SEED, STEP
from clntk.errors import DataError
from clntk.stats.designs import AT, GROUP, RUN, Term, Y, cells, lines, random_effects, unevenness
from clntk.stats.mixed import Fit, failed, fit_mixed
from clntk.stats.tidy import finite, need_columns, need_one_value_each, reference

_UNEVEN = 5  # times by which the spread may differ between checkpoints before it is noted


def compare_trajectories(
    table: pd.DataFrame,
    value: str,
    *,
    x: str = STEP,
    by: str = REGIME,
    within: Sequence[str] = (),
    baseline: Any = None,
    paired: bool = True,
    level: float = 0.95,
) -> pd.DataFrame:
    """Each regime's trajectory against the baseline's: value ~ x × regime, random effects of seeds and runs.

    Each regime is fitted with the baseline alone, so that regimes need not vary alike. Values of one run are not
    replicates: beside the seed, each run has a random level, and a random slope where x is a number; seeds have a
    random slope too, or a random effect at each checkpoint. So in balanced data the tests of differences are the
    paired t tests over seeds of each run's mean and slope, unless a variance is estimated as zero, when spread is
    pooled. Degrees of freedom are those of the seeds (pairs − 1; n + m − 2 for independent samples), not of the
    values. The model is of straight lines (put a column such as log(step) under ``x`` where they fit better), normal
    effects, and equal spread at all checkpoints. Nothing is corrected for several tests.

    False positives at p ≤ .05 of 600 samples with five moments, of runs that vary in level and slope: difference .05
    and difference slope .04 for five seeds, .06 and .07 for ten; differences at checkpoints .01 to .05 for five seeds,
    least where the spread is smallest. Where runs of one seed differ by noise alone, .01.

    Args:
        table: tidy, one row a seed, regime and x: columns seed, ``by``, ``x``, ``value`` and those in ``within``, such
            as ``runs.measure(...)`` averaged over tasks.
        value: the column modelled; rows where it is not finite are left out.
        x: a column of numbers, for slopes, or of labels such as checkpoints, for a difference at each.
        by: the column that tells apart what is compared.
        within: columns, such as swept settings, that split the table into separate fits.
        baseline: the value of ``by`` that differences are taken from; by default the first in the table.
        paired: whether runs of one seed share its random effects.
        level: confidence level of the intervals.

    Returns:
        Tidy, one row a fixed effect: the columns in ``within``; ``by`` and baseline; term ("baseline" and
        "difference" at one x, "baseline slope" and "difference slope" in units of value over x); at (the mean of x, or
        the checkpoint; missing for slopes); estimate, se, low, high, df, p (two-sided t test of zero); n (pairs of
        seeds, or seeds of the regime if not paired) and n_values; status and note. Status is "converged", "boundary"
        (some variance is estimated as zero) or "failed": then all estimates are NaN, and the note says why. Where there
        is one regime only, its own terms.

    Raises:
        DataError: for an empty table, missing columns, several values for one (within, regime, seed, x), fewer than
            two values of x, or an unknown baseline.

    Source: Laird & Ware 1982, "Random-effects models for longitudinal data"; degrees of freedom between subjects as in
    Schluchter & Elashoff 1990.
    """
    keys = [*within, by, SEED, x]
    need_columns(table, [*keys, value], "compare_trajectories, table")
    need_one_value_each(table, keys, "compare_trajectories, table")
    if table[x].nunique() < 2:
        raise DataError(
            f"compare_trajectories, {x}: expected several moments, found {table[x].nunique()}; a single one is "
            "compared by compare_regimes"
        )
    groups = list(dict.fromkeys(table[by]))
    base = reference(baseline, groups, "compare_trajectories")
    others = [group for group in groups if group != base] or [base]
    rows = []
    for key, part in table.groupby(list(within), sort=False, dropna=False) if within else [((), table)]:
        for group in others:
            frame = _frame(part[part[by].isin([base, group])], value, x, by, base)
            labels = dict(zip(within, key, strict=True)) | {by: group, "baseline": base}
            freedom = _Freedom.of(frame, alone=group == base, paired=paired)
            rows += [labels | row for row in _rows(frame, freedom, level)]
    return pd.DataFrame(rows)


def _frame(table: pd.DataFrame, value: str, x: str, by: str, base: Any) -> pd.DataFrame:
    """The values as the model names them; the group is 0 for the baseline and 1 for the other."""
    frame = pd.DataFrame(
        {
            Y: finite(table[value]),
            SEED: table[SEED],
            GROUP: (table[by] != base).astype(int),
            AT: table[x],
        }
    ).dropna()
    frame[RUN] = frame[SEED].astype(str) + "/" + frame[GROUP].astype(str)
    return frame.reset_index(drop=True)


@dataclass(frozen=True)
class _Freedom:
    """How many seeds, or pairs of them, differences rest on, and the degrees of freedom of each kind of term."""

    alone: bool  # one group only: no differences
    crossed: bool  # a seed has a run in both groups
    n: int
    baseline: int
    difference: int

    @classmethod
    def of(cls, frame: pd.DataFrame, *, alone: bool, paired: bool) -> "_Freedom":
        base, other = (set(frame.loc[frame[GROUP] == group, SEED]) for group in (0, 1))
        if alone:
            return cls(True, False, len(base), len(base) - 1, 0)
        n = len(base & other) if paired else len(other)
        return cls(False, paired, n, len(base) - 1, n - 1 if paired else len(base) + n - 2)

    @property
    def enough(self) -> bool:
        return self.baseline > 0 and (self.alone or (self.n > 1 and self.difference > 0))


def _rows(frame: pd.DataFrame, freedom: _Freedom, level: float) -> Iterator[dict[str, Any]]:
    """The fixed effects of one fit."""
    from scipy import stats

    numeric = pd.api.types.is_numeric_dtype(frame[AT])
    terms = [
        term
        for term in (lines if numeric else cells)(frame)
        if not (freedom.alone and term.name.startswith("difference"))
    ]
    fit = _fit(frame, terms, freedom)
    for term, estimate, se in zip(terms, fit.estimates, fit.errors, strict=True):
        estimate, se = estimate / term.per, se / term.per
        df = freedom.difference if term.name.startswith("difference") else freedom.baseline
        reach = stats.t.ppf((1 + level) / 2, df) * se
        yield {
            "term": term.name,
            "at": term.at,
            "estimate": estimate,
            "se": se,
            "low": estimate - reach,
            "high": estimate + reach,
            "df": df,
            "p": 2 * stats.t.sf(abs(estimate) / se, df),
            "n": freedom.n,
            "n_values": len(frame),
            "status": fit.status,
            "note": fit.note,
        }


def _fit(frame: pd.DataFrame, terms: list[Term], freedom: _Freedom) -> Fit:
    """The model fitted; what it can be doubted for is in the note."""
    if not freedom.enough:
        return failed(len(terms), f"fewer than two seeds{'' if freedom.alone else ' to compare'}")
    trend = next((term.column for term in terms if term.name == "baseline slope"), None)
    fit = fit_mixed(
        frame[Y].to_numpy(),
        np.column_stack([term.column for term in terms]),
        groups=frame[SEED if freedom.crossed else RUN].to_numpy(),
        effects=random_effects(frame, trend, crossed=freedom.crossed),
    )
    if fit.status != "failed" and trend is None and (times := unevenness(frame)) > _UNEVEN:
        note = f"spread is pooled, but differs {times:.3g}-fold between moments"
        return replace(fit, note="; ".join(filter(None, [fit.note, note])))
    return fit
