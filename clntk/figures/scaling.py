"""Quantities that grow as powers of a setting, beside the power that is expected; and outputs beside closed forms."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from clntk.axes import LABELS, SEED, STEP
from clntk.figures.seeds import by_seed, over_seeds
from clntk.figures.style import LETTERS, logarithmic, palette, wrapped
from clntk.measures.closed_form import EXAMPLE
from clntk.stats.in_time import NETWORK

EXPECTED: dict[str, Any] = {"color": "0.35", "linewidth": 1.1, "linestyle": "--"}
CLOSED = {"empirical": "-", "infinite": ":"}  # how lines of closed forms look
_ABOVE = 1.7  # times the data: where the line of the expected slope is drawn


def power_law(
    axis: plt.Axes,
    table: pd.DataFrame,
    key: str,
    *,
    labels: tuple[str, str],
    colour: object,
    slope: float | None = None,
    between: tuple[float, float] = (0.0, np.inf),
    note: str = "",
) -> None:
    """Thin lines are seeds, dots their mean with its 95 % bootstrap interval; dashed: the slope that is expected.

    Args:
        axis: where to draw; both axes become logarithmic.
        table: tidy, with columns seed, ``key`` and value; what is not positive is left out.
        key: the column of the setting.
        labels: of the two axes.
        colour: of all of it.
        slope: of the line, parallel to the data and above them; none is drawn without.
        between: from where to where it goes.
        note: written above the panel.
    """
    shown = table[table["value"] > 0]
    seeds = by_seed(shown, "value", [key]).unstack(SEED).sort_index()
    found = over_seeds(shown, "value", [key]).loc[seeds.index]
    x, mean = found.index.to_numpy(float), found["estimate"].to_numpy()
    axis.plot(x, seeds.to_numpy(), color=colour, linewidth=0.7, alpha=0.45)
    axis.plot(x, mean, color=colour, marker="o", markersize=3.5)
    if found["low"].notna().any():
        axis.fill_between(x, found["low"], found["high"], color=colour, alpha=0.18, linewidth=0)
    inside = (x >= between[0]) & (x <= between[1])
    axis.set_xscale("log")
    if slope is not None and inside.any():
        logs = np.log(x[inside])
        level = np.log(mean[inside]).mean() + np.log(_ABOVE)
        axis.plot(x[inside], np.exp(level + slope * (logs - logs.mean())), **EXPECTED)
    axis.set(xlabel=labels[0], ylabel=wrapped(labels[1], LETTERS))
    axis.set_xticks(x, [f"{value:g}" for value in x], fontsize=7)
    axis.set_xticks([], minor=True)
    logarithmic(axis)
    axis.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))  # labels of all digits would overlap
    axis.set_title(note, fontsize=8, fontweight="normal")


def beside_closed_form(axis: plt.Axes, table: pd.DataFrame, *, title: str, label: str) -> None:
    """Dots are outputs of a network over steps, one colour an example; lines are its closed forms.

    Args:
        axis: where to draw; its horizontal axis becomes logarithmic.
        table: of one network, of :func:`clntk.stats.in_time.outputs_in_time`.
        title: of the panel.
        label: of the vertical axis.
    """
    colours = palette(list(map(str, table[EXAMPLE].unique()))).values()
    for colour, (_, part) in zip(colours, table.groupby(EXAMPLE), strict=True):
        axis.plot(part[STEP], part[NETWORK], "o", color=colour, markersize=4)
        for kernel, look in CLOSED.items():
            axis.plot(part[STEP], part[kernel], color=colour, linestyle=look, linewidth=1.2)
    logarithmic(axis, "x")
    axis.set(xlabel=LABELS[STEP], ylabel=wrapped(label, LETTERS))
    axis.set_title(title)


def guides(names: Mapping[str, str]) -> dict[str, Line2D]:
    """The legend's handles of lines that are no conditions: what each style stands for → the style."""
    looks: dict[str, dict[str, Any]] = {
        name: EXPECTED if look == "expected" else {"color": "0.35", "linestyle": look}
        for name, look in names.items()
    }
    return {name: Line2D([], [], **look) for name, look in looks.items()}
