"""What kernels foretold beside what happened: forgetting point by point, and outputs phase by phase."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from clntk.axes import CONDITION
from clntk.figures.style import GUIDE, PAGE, legend, palette
from clntk.figures.trajectories import trajectory
from clntk.measures.kernel_forecast import KERNEL
from clntk.stats.forecast import ACTUAL, DEPARTURE, PARTED, PREDICTED

TITLES = {"init": "Kernel at initialisation", "task start": "Kernel at each task's start"}
_ROOM = 0.5  # of the range of what happened: predictions farther off than that lie beyond the axis


def forecast_panels(
    table: pd.DataFrame, *, conditions: Sequence[str], notes: Mapping[str, str]
) -> plt.Figure:
    """A column a kernel: forgetting predicted and actual beside the line on which they agree; departures below.

    Args:
        table: of :func:`clntk.predict_forgetting`.
        conditions: in the order of the legend.
        notes: kernel → what is written of it among its points.
    """
    figure = plt.figure(figsize=(PAGE, 5.6))
    upper, lower = figure.subplots(2, len(TITLES), sharex="row", sharey="row", height_ratios=[1.2, 1])
    limits = _limits(table)
    for top, bottom, (kernel, title) in zip(upper, lower, TITLES.items(), strict=True):
        part = table[table[KERNEL] == kernel]
        _points(top, part, conditions, limits)
        top.set_title(title, pad=18)
        top.annotate(notes[kernel], (0, 1.03), xycoords="axes fraction", fontsize=8)
        label = "Departure from prediction"
        trajectory(bottom, part, DEPARTURE, conditions=conditions, label=label, log=True)
        bottom.axhline(PARTED, **GUIDE)
    for axes in (upper, lower):
        axes[1].set_ylabel("")
    legend(figure, conditions)
    return figure


def _limits(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Of both axes: no forgetting, what happened, and predictions that are not far off."""
    known = table.dropna(subset=[PREDICTED, ACTUAL])
    low, high = min(0, known[ACTUAL].min()), max(0, known[ACTUAL].max())
    room = _ROOM * (high - low)
    near = known[PREDICTED][known[PREDICTED].between(low - room, high + room)]
    spans = {"xlim": (min([low, *near]), max([high, *near])), "ylim": (low, high)}
    return {side: (a - 0.07 * (b - a), b + 0.07 * (b - a)) for side, (a, b) in spans.items()}


def _points(
    axis: plt.Axes, part: pd.DataFrame, conditions: Sequence[str], limits: dict[str, tuple[float, float]]
) -> None:
    """One point a run, phase and task learned before; arrows where predictions lie beyond the axis."""
    left, right = limits["xlim"]
    known = part.dropna(subset=[PREDICTED, ACTUAL])
    axis.axline((0, 0), slope=1, color="0.4", linewidth=1, linestyle="--", zorder=1)
    looks: dict[str, Any] = {"s": 18, "alpha": 0.7, "edgecolors": "white", "linewidths": 0.4}
    for condition, colour in palette(conditions).items():
        own = known[known[CONDITION] == condition]
        for marker, rows in (
            ("o", own[own[PREDICTED].between(left, right)]),
            ("<", own[own[PREDICTED] < left]),
            (">", own[own[PREDICTED] > right]),
        ):
            x = rows[PREDICTED].clip(left, right)
            axis.scatter(x, rows[ACTUAL], color=colour, marker=marker, clip_on=marker == "o", **looks)
    axis.set(**limits, xlabel="Predicted forgetting (loss)", ylabel="Actual forgetting (loss)")
