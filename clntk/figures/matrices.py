"""Task-by-task matrices, annotated."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from clntk.axes import EVAL_TASK, LABELS
from clntk.figures.style import PAGE


def matrix_row(
    matrices: Mapping[str, pd.DataFrame], *, label: str, row_label: str, vmin: float = 0.0, vmax: float = 1.0
) -> plt.Figure:
    """One annotated matrix for each condition, on one colour scale.

    Args:
        matrices: condition → matrix, rows the task trained, columns the task evaluated.
        label: of the colour bar.
        row_label: of the rows.
        vmin, vmax: the scale.
    """
    per_row = min(len(matrices), 3)
    rows = -(-len(matrices) // per_row)
    tallest = max(len(matrix) for matrix in matrices.values())
    height = max(1.2, 0.34 * tallest + 0.95)
    figure, axes = plt.subplots(
        rows, per_row, figsize=(PAGE * max(per_row, 2) / 3 + 0.6, height * rows), squeeze=False
    )
    flat = list(axes.flat)
    for axis, (condition, matrix) in zip(flat, matrices.items(), strict=False):
        sns.heatmap(
            matrix,
            ax=axis,
            vmin=vmin,
            vmax=vmax,
            cmap="cividis",
            annot=True,
            fmt=".2f",
            cbar=False,
            annot_kws={"size": 7},
            linewidths=0.5,
            linecolor="white",
        )
        axis.set_title(condition)
        axis.set_xlabel(LABELS[EVAL_TASK])
        axis.set_ylabel(row_label if axis in flat[::per_row] else "")
        axis.tick_params(length=0)
        axis.tick_params(axis="y", rotation=0)
    for axis in flat[len(matrices) :]:
        axis.set_axis_off()
    bar = figure.colorbar(flat[0].collections[0], ax=flat, shrink=0.9, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure
