"""Criteria and their findings, one panel a criterion and one row a condition."""

import re
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clntk.figures.style import PAGE, palette, wrapped

MARKERS = {"met": "o", "missed": "X", "open": "o"}


def criteria_panels(table: pd.DataFrame, verdicts: Mapping[str, str], *, by: str = "condition") -> plt.Figure:
    """Estimates with intervals; the shaded side of the line is where a criterion is met; a dash is undefined.

    Args:
        table: of :func:`clntk.stats.claim.judged`.
        verdicts: condition → verdict, written at its row's end.
        by: the column of conditions.
    """
    conditions = list(verdicts)
    colours = palette(conditions)
    criteria = list(dict.fromkeys(table["criterion"]))
    height = 1.1 + 0.32 * len(conditions)
    figure, axes = plt.subplots(1, len(criteria), figsize=(PAGE, height), sharey=True)
    for axis, criterion in zip(axes, criteria, strict=True):
        rows = table[table["criterion"] == criterion].set_index(by)
        _panel(axis, rows, conditions, colours)
        axis.set_title(criterion.capitalize(), fontsize=6.5)
    axes[0].set_yticks(range(len(conditions)), [wrapped(_told(name), 34) for name in conditions], fontsize=7)
    axes[0].set_ylim(len(conditions) - 0.5, -0.5)
    last = axes[-1].secondary_yaxis("right")
    last.set_yticks(range(len(conditions)), list(verdicts.values()), fontsize=7)
    last.tick_params(length=0)
    last.spines["right"].set_visible(False)
    return figure


def _told(condition: str) -> str:
    """The condition without the keys of settings that are words: these say by themselves what they are of."""
    return re.sub(r"[\w.]+=(?=[^\W\d])", "", condition)


def _panel(axis: plt.Axes, rows: pd.DataFrame, conditions: list[str], colours: Mapping[str, object]) -> None:
    least = float(rows["least"].iloc[0])
    for position, condition in enumerate(conditions):
        row, colour = rows.loc[condition], colours[condition]
        if not np.isfinite(row["estimate"]):
            axis.annotate("–", (0.5, position), xycoords=("axes fraction", "data"), ha="center", va="center")
            continue
        axis.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=1.4)
        axis.plot(
            row["estimate"],
            position,
            MARKERS[row["finding"]],
            color=colour,
            markersize=5.5,
            markerfacecolor="white" if row["finding"] == "open" else colour,
        )
    known = rows[["estimate", "low", "high"]].to_numpy(float)
    edges = [value for value in [*known.ravel(), least, 0.0] if value == value]
    low, high = min(edges), max(edges)
    room = 0.08 * (high - low or 1)
    axis.set_xlim(low - room, high + room)
    axis.axvspan(least, high + room, color="0.93", zorder=0, linewidth=0)
    axis.axvline(least, color="0.55", linewidth=0.9, zorder=1)
    axis.locator_params(axis="x", nbins=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7)
