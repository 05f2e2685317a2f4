"""Two quantities against each other: predicted and actual changes, runs in a phase diagram."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import FigureBase

from clntk.axes import CONDITION, RUN
from clntk.figures.style import abreast, logarithmic, palette, wrapped

SHOWN = 2000  # points a panel: more would only make the file larger
MARKERS = "osD^vPX"
MEASURE, VALUE = "measure", "value"
_PAPER = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}


def cloud_height(notes: Mapping[str, str]) -> float:
    """Inches that :func:`against_identity` needs."""
    return 2.3 * -(-len(notes) // abreast(len(notes)))


def against_identity(
    figure: FigureBase,
    points: pd.DataFrame,
    x: str,
    y: str,
    *,
    labels: tuple[str, str],
    notes: Mapping[str, str],
) -> None:
    """One panel a condition, on axes of its own: points beside the line on which y = x.

    Args:
        figure: where to draw.
        points: tidy, with columns condition, ``x`` and ``y``; of each condition 2000 random ones are drawn.
        x, y: the columns.
        labels: of the two axes.
        notes: condition → what is written of it inside its panel; their order is that of the panels.
    """
    columns = abreast(len(notes))
    axes = figure.subplots(-(-len(notes) // columns), columns, squeeze=False)
    for axis, (condition, colour) in zip(axes.flat, palette(list(notes)).items(), strict=False):
        part = points[points[CONDITION] == condition]
        part = part.sample(min(len(part), SHOWN), random_state=0)
        axis.axline((0, 0), slope=1, color="0.4", linewidth=1, linestyle="--")
        axis.scatter(part[x], part[y], s=3, color=colour, alpha=0.35, linewidths=0, rasterized=True)
        axis.set_title(wrapped(condition))
        axis.annotate(
            notes[condition], (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=7.5, bbox=_PAPER
        )
        axis.set_xlabel(labels[0] if axis in axes[-1] else "")
        axis.set_ylabel(labels[1] if axis in axes[:, 0] else "")
    for axis in list(axes.flat)[len(notes) :]:
        axis.set_axis_off()


def points_of_runs(scalars: pd.DataFrame) -> pd.DataFrame:
    """One row a run, with its measures as columns after those that say which run it is.

    Args:
        scalars: tidy, one row a run and measure, as of :meth:`clntk.runs.runset.RunSet.scalars`.
    """
    order = list(dict.fromkeys(scalars[MEASURE]))
    wide = scalars.pivot(index=RUN, columns=MEASURE, values=VALUE)[order]
    runs = scalars.drop(columns=[MEASURE, VALUE]).drop_duplicates(RUN)
    return runs.join(wide.rename_axis(columns=None), on=RUN).reset_index(drop=True)


def phase_diagram(
    axis: plt.Axes,
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    conditions: Sequence[str],
    labels: tuple[str, str],
    markers: Mapping[str, str],
) -> None:
    """One point a run, x on a logarithmic axis.

    Args:
        axis: where to draw.
        table: tidy, one row a run, with columns condition, ``x`` and ``y``.
        x, y: the columns; runs with x ≤ 0 have no place on the axis.
        conditions: in the order of the legend.
        labels: of the two axes.
        markers: condition → marker.
    """
    shown = table[table[x] > 0]
    for condition, colour in palette(conditions).items():
        part = shown[shown[CONDITION] == condition]
        axis.scatter(part[x], part[y], s=30, color=colour, marker=markers[condition], edgecolors="white")
    logarithmic(axis, "x")
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])


def markers_of(groups: Mapping[str, str]) -> dict[str, str]:
    """Condition → marker, one marker a group (such as the regime)."""
    shapes = dict(zip(dict.fromkeys(groups.values()), MARKERS * len(groups), strict=False))
    return {condition: shapes[group] for condition, group in groups.items()}
