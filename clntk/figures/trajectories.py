"""A quantity followed over checkpoints, one line a condition."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clntk.axes import CHECKPOINT, CONDITION, LABELS, SEED, TASK
from clntk.figures.seeds import by_seed, over_seeds
from clntk.figures.style import GUIDE, LETTERS, logarithmic, palette, wrapped

CROWDED = 4  # checkpoints; beyond, their labels are turned,
ROOM = 16  # as they are where they have more letters than this together


def trajectory(
    axis: plt.Axes,
    table: pd.DataFrame,
    value: str,
    *,
    conditions: Sequence[str],
    label: str,
    log: bool = False,
    reference: str | None = None,
) -> None:
    """Thin lines are seeds, the thick line is their mean in its 95 % bootstrap interval; dotted: task switches.

    Other dimensions are averaged within a seed first.

    Args:
        axis: where to draw.
        table: tidy, with columns condition, seed, checkpoint and ``value``; the column ``task`` tells at which
            checkpoints another task begins; without it, one does at each.
        value: the column to draw.
        conditions: in the order of the legend.
        label: of the vertical axis.
        log: logarithmic vertical axis; zeros (the initialisation) are then left out.
        reference: a column drawn dashed, averaged likewise: what ``value`` would be by chance.
    """
    shown = table[table[value] > 0] if log else table.dropna(subset=[value])
    order = [c for c in dict.fromkeys(table[CHECKPOINT]) if (shown[CHECKPOINT] == c).any()]
    colours = palette(conditions)
    for condition in conditions:
        part = shown[shown[CONDITION] == condition]
        if not part.empty:
            _one(axis, part, value, order, condition, colours[condition])
            if reference:
                mean = over_seeds(part, reference, [CHECKPOINT])["estimate"].reindex(order)
                axis.plot(range(len(order)), mean, color=colours[condition], linewidth=1, linestyle="--")
    _mark_switches(axis, table, order)
    crowded = len(order) > CROWDED or sum(map(len, order)) > ROOM
    axis.set_xticks(
        np.arange(len(order)), order, rotation=45 if crowded else 0, ha="right" if crowded else "center"
    )
    axis.set_xlim(-0.3, len(order) - 0.7)
    axis.set_xlabel(LABELS[CHECKPOINT])
    axis.set_ylabel(wrapped(label, LETTERS))
    if log:
        logarithmic(axis)


def _one(
    axis: plt.Axes, part: pd.DataFrame, value: str, order: list[str], condition: str, colour: tuple
) -> None:
    """One condition: its seeds, their mean, and the interval."""
    seeds = by_seed(part, value, [CHECKPOINT]).unstack(SEED)
    seeds = seeds.reindex([c for c in order if c in seeds.index])
    found = over_seeds(part, value, [CHECKPOINT]).loc[seeds.index]
    x = [order.index(c) for c in seeds.index]
    alone = "o" if seeds.notna().any(axis=1).sum() < 2 else None
    axis.plot(x, seeds.to_numpy(), color=colour, linewidth=0.7, alpha=0.45, marker=alone, markersize=2.5)
    axis.plot(x, found["estimate"], color=colour, marker="o", markersize=3.5, label=condition)
    if found["low"].notna().any():
        bounds = found[["low", "high"]].to_numpy(float).T
        if alone:
            axis.vlines(x, *bounds, color=colour, alpha=0.45, linewidth=4)
        else:
            axis.fill_between(x, *bounds, color=colour, alpha=0.18, linewidth=0)


def _mark_switches(axis: plt.Axes, table: pd.DataFrame, order: list[str]) -> None:
    """Dotted lines where the task trained changes; at the last checkpoint nothing begins."""
    at = list(range(len(order) - 1))
    if TASK in table:
        tasks = table.drop_duplicates(CHECKPOINT).set_index(CHECKPOINT)[TASK]
        at = [k for k in at if tasks[order[k]] != tasks[order[k + 1]]]
    for k in at:
        axis.axvline(k, **GUIDE)
