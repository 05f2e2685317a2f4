"""Single units: how selective each one is, and how many belong to one task."""

from collections.abc import Iterable, Sequence
from typing import Literal, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import Collection

from clntk.axes import CHECKPOINT, CONDITION, INIT, LAYER
from clntk.figures.style import GUIDE, UNTRAINED, palette, wrapped

CLASSES = {"task_only": "one task only", "mixed": "several tasks", "dead": "dead"}
SHOWN = 300  # dots of a cloud: more would be a blot
BODY = 0.8  # of the room of a condition that its cloud takes


def rainclouds(
    axis: plt.Axes, table: pd.DataFrame, value: str, *, conditions: Sequence[str], label: str
) -> None:
    """Every unit's value by layer and condition: a cloud of the trained network's units beside the untrained one's.

    The coloured half and the dots are trained units of all seeds (300 dots at most), the grey half is the untrained
    network of the same condition; white lines are quartiles, the bold one the median.

    Args:
        axis: where to draw.
        table: tidy, one row a unit at initialisation and at the last checkpoint: condition, layer, checkpoint and
            ``value``, NaN for units that have none.
        value: the column to draw.
        conditions: in order.
        label: of the vertical axis.
    """
    live = table.dropna(subset=[value])
    layers = list(dict.fromkeys(live[LAYER]))
    width = BODY / max(len(conditions), 1)
    jitter = np.random.default_rng(0)
    axis.axhline(0, **GUIDE)
    for j, (condition, colour) in enumerate(palette(conditions).items()):
        for i, layer in enumerate(layers):
            x = i + (j - (len(conditions) - 1) / 2) * width
            cloud = live[(live[CONDITION] == condition) & (live[LAYER] == layer)]
            untrained = cloud[CHECKPOINT] == INIT
            _half(axis, x, cloud.loc[untrained, value], width, "low", UNTRAINED)
            trained = cloud.loc[~untrained, value].to_numpy()
            _half(axis, x, trained, width, "high", colour)
            shown = jitter.choice(trained, min(len(trained), SHOWN), replace=False)
            near = x + width * jitter.uniform(0.02, 0.4, len(shown))
            axis.plot(near, shown, ".", color=colour, markersize=1.2, alpha=0.5, rasterized=True)
    axis.set_xticks(range(len(layers)), [wrapped(layer, 14) for layer in layers])
    axis.set_xlim(-0.5, len(layers) - 0.5)
    axis.set_xlabel("Hidden layer")
    axis.set_ylabel(label)


def _half(
    axis: plt.Axes,
    x: float,
    values: pd.Series | np.ndarray,
    width: float,
    side: Literal["low", "high"],
    colour: str | tuple[float, float, float],
) -> None:
    """One half of a violin with its quartiles; nothing for no values."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return
    parts = axis.violinplot(values, [x], widths=width * 0.95, side=side, showextrema=False)
    for body in cast(Iterable[Collection], parts["bodies"]):  # a list, by the stubs one collection
        body.set(facecolor=colour, alpha=0.45, linewidth=0)
    reach = 0.2 * width if side == "high" else -0.2 * width
    left, right = sorted((x, x + reach))
    for quartile, line in zip(np.percentile(values, [25, 50, 75]), (0.8, 2.0, 0.8), strict=True):
        axis.hlines(quartile, left, right, color=colour, linewidth=line)


def class_bars(axis: plt.Axes, fractions: pd.DataFrame, *, conditions: Sequence[str]) -> None:
    """The share of units active on one task only, on several, or on none, stacked, for each condition.

    Args:
        axis: where to draw.
        fractions: index condition, columns ``task_only``, ``mixed``, ``dead``; rows sum to 1.
        conditions: in order, from top to bottom.
    """
    shown = fractions.loc[list(conditions)][::-1]
    names = [wrapped(condition, 18) for condition in shown.index]
    left = np.zeros(len(shown))
    greys = {"task_only": "#D55E00", "mixed": UNTRAINED, "dead": "#222222"}
    for name, label in CLASSES.items():
        axis.barh(names, shown[name], left=left, color=greys[name], label=label, height=0.6)
        left = left + shown[name].to_numpy()
    axis.set_xlim(0, 1)
    axis.set_xlabel("Fraction of units")
    axis.tick_params(axis="y", length=0)
    axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, handlelength=1, columnspacing=0.9)
