"""Categories side by side: each condition's mean over seeds with its interval, and the seeds."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clntk.axes import CONDITION
from clntk.figures.seeds import by_seed, over_seeds
from clntk.figures.style import CHANCE, GUIDE, LETTERS, logarithmic, palette, shortened, wrapped

SPREAD = 0.7  # of a category's width that its conditions take
ROOM = 26  # letters below a panel; where labels need more, they are turned


def dots(
    axis: plt.Axes,
    table: pd.DataFrame,
    value: str,
    *,
    by: str,
    conditions: Sequence[str],
    label: str,
    reference: str | None = None,
    log: bool = False,
) -> None:
    """Large dots are means over seeds with 95 % bootstrap intervals, small ones are seeds; dashes are the reference.

    Other dimensions are averaged within a seed first.

    Args:
        axis: where to draw.
        table: tidy, with columns condition, seed, ``by`` and ``value``.
        value: the column to draw.
        by: the column of categories, drawn in order of appearance.
        conditions: in the order of the legend.
        label: of the vertical axis.
        reference: a column of what ``value`` is compared with, averaged likewise and drawn as a dash: chance, or the
            untrained network.
        log: logarithmic vertical axis.
    """
    shown = table[table[value] > 0] if log else table.dropna(subset=[value])
    order = list(dict.fromkeys(shown[by]))
    means = over_seeds(shown, value, [by, CONDITION])
    seeds = dict(iter(by_seed(shown, value, [by, CONDITION]).groupby(level=[by, CONDITION])))
    references = over_seeds(shown, reference, [by, CONDITION])["estimate"] if reference else {}
    width = SPREAD / max(len(conditions), 1)
    for j, (condition, colour) in enumerate(palette(conditions).items()):
        for i, category in enumerate(order):
            if (key := (category, condition)) in means.index:
                x = i + (j - (len(conditions) - 1) / 2) * width
                _one(axis, x, seeds[key].to_numpy(), means.loc[key], colour)
                if key in references:
                    axis.hlines(references[key], x - 0.45 * width, x + 0.45 * width, color=CHANCE, lw=1.2)
    ticks = [name.replace("_", " ") for name in shortened(order)]
    crowded = len(order) > 1 and sum(map(len, ticks)) > ROOM
    axis.set_xticks(
        range(len(order)), ticks, rotation=40 if crowded else 0, ha="right" if crowded else "center"
    )
    axis.set_xlim(-0.5, len(order) - 0.5)
    axis.set_ylabel(wrapped(label, LETTERS))
    if log:
        logarithmic(axis)
    else:
        axis.axhline(0, **GUIDE)  # differences are seen beside zero, not beside the lowest value


def _one(axis: plt.Axes, x: float, seeds: np.ndarray, mean: pd.Series, colour: tuple) -> None:
    axis.plot(np.full(len(seeds), x), seeds, "o", color=colour, markersize=2.2, alpha=0.45)
    axis.plot(x, mean["estimate"], "o", color=colour, markersize=4.5)
    if np.isfinite(mean["low"]):
        axis.vlines(x, mean["low"], mean["high"], color=colour, linewidth=1.6)
