"""What was measured beside what would do: a row for every published result, each on a scale of its own."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clntk.figures.style import PAGE, palette, wrapped
from clntk.stats.replication import told_verdict

ROW = 0.62  # inches
ACROSS = 46  # letters of a claim in one line


def rows_in_bounds(table: pd.DataFrame, *, good: str) -> plt.Figure:
    """Dots are means with their intervals, filled where a result counts as reproduced; the band is where a mean would.

    Args:
        table: of :func:`clntk.stats.replication.replicated`.
        good: the verdict of filled dots.
    """
    figure, axes = plt.subplots(len(table), 1, figsize=(PAGE, ROW * len(table) + 0.2), squeeze=False)
    right, wrong = palette(("right", "wrong")).values()
    for axis, (_, row) in zip(axes.flat, table.iterrows(), strict=True):
        well = row["verdict"] == good
        colour = right if well else wrong
        _band(axis, row)
        axis.plot([row["low"], row["high"]], [0, 0], color=colour, linewidth=1.6)
        axis.plot(
            row["mean"], 0, "o", color=colour, markersize=5.5, markerfacecolor=colour if well else "white"
        )
        said = f"{wrapped(row['claim'], ACROSS)}\n{wrapped('published: ' + row['published'], ACROSS)}"
        axis.set_yticks([0], [said])
        other = axis.secondary_yaxis("right")
        other.set_yticks([0], [told_verdict(row)])
        for side in (axis, other):
            side.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        other.spines["right"].set_visible(False)
    return figure


def _band(axis: plt.Axes, row: pd.Series) -> None:
    """The band, and room for all there is to see; a side left open runs to the edge."""
    edges = row[["least", "most", "low", "high", "mean"]].to_numpy(float)
    edges = edges[np.isfinite(edges)]
    room = 0.12 * (np.ptp(edges) or abs(edges[0]) or 1)
    low, high = edges.min() - room, edges.max() + room
    axis.set(xlim=(low, high), ylim=(-1, 1))
    axis.axvspan(
        max(row["least"], low),
        min(row["most"], high),
        facecolor="0.9",
        edgecolor="0.7",
        zorder=0,
        linewidth=0.8,
    )
    axis.locator_params(axis="x", nbins=5)
    axis.tick_params(axis="x", labelsize=7, length=2, pad=1)
