"""Estimates as sentences."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clntk.stats.regimes import compare_regimes

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


def estimates(runs: "RunSet", measures: Iterable[str | dict[str, Any]]) -> str:
    """One sentence a measure: each regime's mean over seeds with its 95 % interval and n."""
    table = compare_regimes(runs, list(measures))
    lines = []
    for measure, rows in table.groupby("measure", sort=False):
        parts = [f"{_condition(row, runs.short_axes)} {interval(row)}" for _, row in rows.iterrows()]
        lines.append(f"{words(str(measure))}: {'; '.join(parts)}.")
    return "\n".join(lines)


def interval(row: pd.Series) -> str:
    """``0.52 [0.41, 0.60] (n = 3)``, or that nothing is defined."""
    return (
        f"{bounded(row['estimate'], row['low'], row['high'])} (n = {int(row['n'])})"
        if row["n"]
        else "not defined"
    )


def bounded(value: float, low: float, high: float) -> str:
    """``0.52 [0.41, 0.60]``; a dash where there is no value, no brackets where there is no interval."""
    return f"{number(value)} [{number(low)}, {number(high)}]" if np.isfinite(low) else number(value)


def small_sample_note(comparison: pd.DataFrame) -> str:
    """What so few seeds can and cannot show."""
    n = int(comparison["n"].max())
    pairs = comparison["test"].iloc[0] == "sign flip"
    how = "paired by seed" if pairs else "between independent samples"
    note = (
        f"Means over {n} seeds with bootstrap (BCa) intervals; differences are {how}. Detectable: the smallest "
        "difference that these seeds would have shown in four experiments of five, at the spread observed and before "
        "correction."
    )
    if n < 10:
        smallest = comparison["smallest_p"].min()
        note += (
            f" With n = {n} such intervals are too narrow (they cannot reach beyond the data: of five normal values, a "
            "95 % interval holds the mean in about 84 % of samples)"
        )
        if np.isfinite(smallest):
            note += f", and the smallest p that they can give is {number(smallest)}, before correction"
        note += ": read the effect, and add seeds."
    return note


def number(value: float) -> str:
    """Three significant digits, five decimals just below 1, powers of ten where plain digits would be long, a dash
    for NaN."""
    if not np.isfinite(value):
        return "—"
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}·10{''.join(_SUPERSCRIPT[c] for c in str(int(exponent)))}"
    if 0.995 <= abs(value) < 1:
        return f"{value:.5f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def words(measure: str) -> str:
    """A measure's name as words: ``unit_tuning.task_only`` → ``Unit tuning, task only``."""
    text = measure.replace(".", ", ").replace("_", " ")
    return text[:1].upper() + text[1:]


_SUPERSCRIPT = dict(zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))


def _condition(row: pd.Series, axes: Mapping[str, str]) -> str:
    return ", ".join([str(row["regime"]), *(f"{short}={row[axis]}" for axis, short in axes.items())])
