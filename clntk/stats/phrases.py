"""Estimates as sentences."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clntk.stats.regimes import compare_regimes

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


def estimates(runs: "RunSet", measures: Iterable[str]) -> str:
    """One sentence a measure: each regime's mean over seeds with its 95 % interval and n."""
    table = compare_regimes(runs, list(measures))
    axes = runs.axes
    lines = []
    for measure, rows in table.groupby("measure", sort=False):
        parts = [f"{_condition(row, axes)} {interval(row)}" for _, row in rows.iterrows()]
        lines.append(f"{words(str(measure))}: {'; '.join(parts)}.")
    return "\n".join(lines)


def interval(row: pd.Series) -> str:
    """``0.52 [0.41, 0.60] (n = 3)``, or a dash where nothing is defined."""
    if not row["n"]:
        return "not defined"
    bounds = f" [{number(row['low'])}, {number(row['high'])}]" if np.isfinite(row["low"]) else ""
    return f"{number(row['estimate'])}{bounds} (n = {int(row['n'])})"


def number(value: float) -> str:
    """Three significant digits; powers of ten where plain digits would be long; a dash for NaN."""
    if not np.isfinite(value):
        return "—"
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}·10{''.join(_SUPERSCRIPT[c] for c in str(int(exponent)))}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def words(measure: str) -> str:
    """A measure's name as words: ``unit_tuning.task_only`` → ``Unit tuning, task only``."""
    text = measure.replace(".", ", ").replace("_", " ")
    return text[:1].upper() + text[1:]


_SUPERSCRIPT = dict(zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))


def _condition(row: pd.Series, axes: list[str]) -> str:
    return ", ".join([str(row["regime"]), *(f"{axis}={row[axis]}" for axis in axes)])
