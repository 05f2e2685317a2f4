"""Single units: how selective each one is, and how many belong to one task."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from clntk.axes import LAYER
from clntk.figures.style import palette

INITIAL = "at initialisation"
CLASSES = {"task_only": "one task only", "mixed": "several tasks", "dead": "dead"}


def selectivity_strip(axis: plt.Axes, units: pd.DataFrame, *, conditions: Sequence[str]) -> None:
    """Every live unit's task-selectivity index by layer and condition, with the quartiles.

    Conditions without a colour of their own (``INITIAL``, the control) are drawn in grey.

    Args:
        axis: where to draw.
        units: tidy, one row a unit: condition, layer, selectivity (NaN for dead units).
        conditions: in order.
    """
    live = units.dropna(subset=["selectivity"])
    order = [*([INITIAL] if (live["condition"] == INITIAL).any() else []), *conditions]
    colours = {INITIAL: "#999999", **palette(conditions)}
    shared = {
        "data": live,
        "x": LAYER,
        "y": "selectivity",
        "hue": "condition",
        "hue_order": order,
        "ax": axis,
    }
    colours = {condition: colours[condition] for condition in order}
    sns.violinplot(
        **shared, palette=colours, inner="quart", cut=0, density_norm="width", linewidth=0.8, alpha=0.45
    )
    sns.stripplot(**shared, palette=colours, dodge=True, size=1.3, alpha=0.35, jitter=0.2, legend=False)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("Hidden layer")
    axis.set_ylabel("Task-selectivity index")
    sns.move_legend(
        axis, "lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(order), title=None, handlelength=1
    )


def class_bars(axis: plt.Axes, fractions: pd.DataFrame, *, conditions: Sequence[str]) -> None:
    """The share of units active on one task only, on several, or on none, stacked, for each condition.

    Args:
        axis: where to draw.
        fractions: index condition, columns ``task_only``, ``mixed``, ``dead``; rows sum to 1.
        conditions: in order, from top to bottom.
    """
    shown = fractions.loc[list(conditions)][::-1]
    left = pd.Series(0.0, index=shown.index)
    greys = {"task_only": "#D55E00", "mixed": "#999999", "dead": "#222222"}
    for name, label in CLASSES.items():
        axis.barh(shown.index, shown[name], left=left, color=greys[name], label=label, height=0.6)
        left = left + shown[name]
    axis.set_xlim(0, 1)
    axis.set_xlabel("Fraction of units")
    axis.tick_params(axis="y", length=0)
    axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, handlelength=1, columnspacing=0.9)
