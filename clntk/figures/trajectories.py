"""A quantity followed over checkpoints, one line a condition."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clntk.axes import CHECKPOINT, CONDITION, LABELS, SEED
from clntk.figures.style import palette


def trajectory(
    axis: plt.Axes,
    table: pd.DataFrame,
    value: str,
    *,
    conditions: Sequence[str],
    label: str,
    log: bool = False,
) -> None:
    """Thin lines are seeds, the thick line is their mean; other dimensions are averaged within a seed first.

    Args:
        axis: where to draw.
        table: tidy, with columns condition, seed, checkpoint and ``value``.
        value: the column to draw.
        conditions: in the order of the legend.
        label: of the vertical axis.
        log: logarithmic vertical axis; zeros (the initialisation) are then left out.
    """
    shown = table[table[value] > 0] if log else table
    order = list(dict.fromkeys(shown[CHECKPOINT]))
    colours = palette(conditions)
    for condition in conditions:
        part = shown[shown[CONDITION] == condition]
        if part.empty:
            continue
        seeds = part.groupby([SEED, CHECKPOINT], sort=False)[value].mean().unstack(SEED)
        seeds = seeds.reindex([c for c in order if c in seeds.index])
        x = [order.index(c) for c in seeds.index]
        marker = "o" if seeds.notna().any(axis=1).sum() < 2 else None
        axis.plot(
            x,
            seeds.to_numpy(),
            color=colours[condition],
            linewidth=0.7,
            alpha=0.45,
            marker=marker,
            markersize=2.5,
        )
        axis.plot(
            x, seeds.mean(axis=1), color=colours[condition], marker="o", markersize=3.5, label=condition
        )
    axis.set_xticks(
        np.arange(len(order)),
        order,
        rotation=45 if len(order) > 4 else 0,
        ha="right" if len(order) > 4 else "center",
    )
    axis.set_xlabel(LABELS[CHECKPOINT])
    axis.set_ylabel(label)
    if log:
        axis.set_yscale("log")
