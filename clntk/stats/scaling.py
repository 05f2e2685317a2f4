"""Quantities along a swept setting: which one, what they are there, and as which power they grow with it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clntk import registry
from clntk.errors import NotApplicable
from clntk.stats.findings.chosen import Measure, values_of
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.phrases import bounded

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

FEWEST = 3  # values of a setting that a power is fitted to
QUANTITY = "quantity"


def swept_key(runs: "RunSet", ending: str, analysis: str, *, beside: Sequence[str] = ()) -> str:
    """The swept setting that an analysis is about, of positive numbers.

    Args:
        runs: of one protocol.
        ending: of its dotted key.
        analysis: for errors.
        beside: keys that may be swept too.

    Raises:
        NotApplicable: if there is none, or with too few values; if regimes or other settings vary with it.
    """
    found = [key for key in runs.axes if key.endswith(ending)]
    others = [key for key in runs.axes if key not in (*found, *beside)]
    if len(found) != 1 or others or len(runs.regimes) > 1:
        varied = ", ".join([*runs.axes, *(["regime"] if len(runs.regimes) > 1 else [])])
        raise NotApplicable(
            f"{analysis}: expected one regime, with a sweep of {ending.lstrip('.')} alone, found runs that differ in "
            f"{varied or 'nothing but their seeds'}; sweep it, or choose runs"
        )
    values = keys_of(runs, found[0])
    if len(values) < FEWEST or min(values) <= 0:
        told = ", ".join(f"{value:g}" for value in values)
        raise NotApplicable(
            f"{analysis}: expected {FEWEST} or more positive values of {found[0]}, found {told}; sweep over more"
        )
    return found[0]


def keys_of(runs: "RunSet", key: str) -> list[float]:
    """The values of a swept setting of numbers, from low to high."""
    return sorted({run.spec.flat()[key] for run in runs})


def highest_decades(values: Sequence[float], decades: float) -> tuple[float, float]:
    """The lowest and highest of the values that lie within so many decades of the highest, or of the highest three.

    Args:
        values: positive, from low to high, three or more.
        decades: how many.
    """
    inside = [value for value in values if value * 10**decades >= values[-1] * (1 - 1e-9)]
    return min(*inside, values[-FEWEST]), values[-1]


def along(
    runs: "RunSet", measures: Mapping[str, Measure], where: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Scalars of measures, one row a run and ``quantity``: run, regime, seed, sweep columns, condition, value.

    Args:
        runs: of one protocol.
        measures: what each is called → measure of one scalar.
        where: regime or swept key → the value that runs must have.
    """
    parts = [
        values_of(runs, measure, where=where).assign(**{QUANTITY: name}) for name, measure in measures.items()
    ]
    return pd.concat(parts, ignore_index=True)


def exponents(
    runs: "RunSet",
    measures: Mapping[str, Measure],
    key: str,
    *,
    between: tuple[float, float] | None = None,
    where: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """The power of a swept setting that each measure grows with, over seeds: see the finding ``scaling_exponent``.

    Args:
        runs, measures, where: as of :func:`along`.
        key: the setting.
        between: the lowest and highest value of it that count; all by default.

    Returns:
        one row a measure, indexed by what it is called: ``estimate``, the mean over seeds, ``low`` and ``high`` of its
        95 % bootstrap interval, and ``n``, the seeds where the measure is positive everywhere.
    """
    slope = registry.get("finding", "scaling_exponent")
    options: dict[str, Any] = {
        "along": key,
        "between": None if between is None else list(map(float, between)),
    }
    rows = {}
    for name, measure in measures.items():
        found = slope(runs, measure=measure, where=dict(where or {}), **options)
        known = found[np.isfinite(found)]
        low, high = bootstrap_interval(known) if len(known) else (np.nan, np.nan)
        estimate = known.mean() if len(known) else np.nan
        rows[name] = {"estimate": estimate, "low": low, "high": high, "n": len(known)}
    return pd.DataFrame.from_dict(rows, orient="index")


def slope_note(row: pd.Series) -> str:
    """An exponent with its interval."""
    return f"slope {bounded(row['estimate'], row['low'], row['high']).replace('-', '−')}"
