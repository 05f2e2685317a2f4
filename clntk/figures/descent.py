"""A quantity along a setting, one line a condition, with the threshold where theory has a peak."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd

from clntk.axes import SEED
from clntk.figures.seeds import by_seed, over_seeds
from clntk.figures.style import GUIDE, LETTERS, logarithmic, palette, wrapped

GROUP = "group"


def along_setting(
    axis: plt.Axes,
    table: pd.DataFrame,
    key: str,
    *,
    groups: Sequence[str],
    labels: tuple[str, str],
    threshold: float | None = None,
    log: bool = False,
) -> None:
    """Thin lines are seeds, thick ones their mean with its 95 % bootstrap interval; dotted: the threshold.

    Args:
        axis: where to draw; its horizontal axis becomes logarithmic.
        table: tidy, with columns seed, ``group``, ``key`` and value.
        key: the column of the setting.
        groups: in the order of the legend.
        labels: of the two axes.
        threshold: a value of the setting to mark.
        log: logarithmic vertical axis; what is not positive is left out.
    """
    for group, colour in palette(groups).items():
        part = table[(table[GROUP] == group) & ((table["value"] > 0) | (not log))]
        if part.empty:
            continue
        seeds = by_seed(part, "value", [key]).unstack(SEED).sort_index()
        found = over_seeds(part, "value", [key]).loc[seeds.index]
        x = found.index.to_numpy(float)
        axis.plot(x, seeds.to_numpy(), color=colour, linewidth=0.6, alpha=0.35)
        axis.plot(x, found["estimate"], color=colour, marker="o", markersize=3.5)
        if found["low"].notna().any():
            axis.fill_between(x, found["low"], found["high"], color=colour, alpha=0.18, linewidth=0)
    logarithmic(axis, "x")
    if threshold is not None:
        axis.axvline(threshold, **{**GUIDE, "color": "0.35", "linewidth": 1.1})
    axis.set(xlabel=labels[0], ylabel=wrapped(labels[1], LETTERS))
    if log:
        logarithmic(axis)
