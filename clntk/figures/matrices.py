"""Task-by-task matrices, annotated."""

from collections.abc import Mapping
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import FigureBase

from clntk.axes import CONDITION, EVAL_TASK, LABELS
from clntk.figures.style import PAGE, abreast, wrapped

LEGIBLE = 10  # columns; beyond, numbers would not fit the cells


def matrices_of(table: pd.DataFrame, value: str, *, rows: str, columns: str) -> dict[str, pd.DataFrame]:
    """Condition → matrix of means over seeds and all that is neither row nor column, in order of appearance.

    Rows without any value are left out, and so are conditions.
    """
    order = {axis: list(dict.fromkeys(table[axis])) for axis in (rows, columns)}
    mean = table.groupby([CONDITION, rows, columns], sort=False)[value].mean()
    found = {
        condition: mean[condition]
        .unstack(columns)
        .reindex(columns=order[columns])
        .reindex(order[rows])
        .dropna(how="all")
        for condition in dict.fromkeys(table[CONDITION])
    }
    return {condition: matrix for condition, matrix in found.items() if len(matrix)}


def matrices_height(matrices: Mapping[str, pd.DataFrame]) -> float:
    """Inches that :func:`matrix_row` needs."""
    rows = -(-len(matrices) // abreast(len(matrices)))
    return rows * max(1.5, 0.34 * max(len(matrix) for matrix in matrices.values()) + 0.95)


def matrix_row(
    matrices: Mapping[str, pd.DataFrame],
    *,
    label: str,
    row_label: str,
    column_label: str = LABELS[EVAL_TASK],
    vmax: float | None = 1.0,
    about_zero: bool = False,
    beside: Mapping[str, pd.DataFrame] | None = None,
    figure: FigureBase | None = None,
) -> FigureBase:
    """One annotated matrix for each condition, on one colour scale.

    Args:
        matrices: condition → matrix, rows the task trained, columns the task evaluated.
        label: of the colour bar.
        row_label: of the rows.
        column_label: of the columns.
        vmax: the top of the scale, which begins at zero or where the lowest value lies below; by default the highest
            value.
        about_zero: whether the scale reaches as far below zero as above, with white at zero.
        beside: condition → matrix of what each number is compared with, written in brackets below it.
        figure: where to draw; by default a new one.
    """
    scale = _scale(matrices, vmax, about_zero)
    columns = abreast(len(matrices))
    size = (PAGE * max(columns, 2) / 3 + 0.6, matrices_height(matrices))
    figure = figure or plt.figure(figsize=size)
    flat = list(figure.subplots(-(-len(matrices) // columns), columns, squeeze=False).flat)
    for axis, (condition, matrix) in zip(flat, matrices.items(), strict=False):
        _heat(axis, matrix, (beside or {}).get(condition), scale, "PuOr_r" if about_zero else "cividis")
        axis.set_title(wrapped(condition))
        axis.set_xlabel(column_label)
        axis.set_ylabel(row_label if axis in flat[::columns] else "")
    for axis in flat[len(matrices) :]:
        axis.set_axis_off()
    bar = figure.colorbar(flat[0].collections[0], ax=flat, shrink=0.9, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


def _scale(matrices: Mapping[str, pd.DataFrame], vmax: float | None, about_zero: bool) -> tuple[float, float]:
    """The bottom and the top of the colours."""
    values = np.concatenate([np.ravel(matrix) for matrix in matrices.values()])
    top = max(float(np.nanmax(values)), 0.0) if vmax is None else vmax
    low = min(float(np.nanmin(values)), 0.0)
    if not about_zero:
        return low, top
    reach = max(top, -low) or 1.0
    return -reach, reach


def _heat(
    axis: plt.Axes, matrix: pd.DataFrame, beside: pd.DataFrame | None, scale: tuple[float, float], cmap: str
) -> None:
    """One matrix with its numbers."""
    sns.heatmap(
        matrix,
        ax=axis,
        vmin=scale[0],
        vmax=scale[1],
        cmap=cmap,
        annot=_numbers(matrix, beside) if matrix.shape[1] <= LEGIBLE else False,
        fmt="",
        cbar=False,
        annot_kws={"size": 7},
        linewidths=0.5,
        linecolor="white",
    )
    axis.tick_params(length=0)
    axis.tick_params(axis="y", rotation=0)


def _numbers(matrix: pd.DataFrame, beside: pd.DataFrame | None) -> np.ndarray:
    """What is written in the cells."""
    largest = np.nanmax(np.abs(matrix.to_numpy(float)))
    decimals = 3 if largest < 0.1 else 2
    texts = matrix.map(partial(_short, decimals=decimals))
    if beside is not None:
        like = beside.reindex(index=matrix.index, columns=matrix.columns)
        texts = texts + "\n(" + like.map(partial(_short, decimals=decimals)) + ")"
    return texts.to_numpy()


def _short(value: float, decimals: int) -> str:
    """So many decimals, and fewer of a number that would not fit its cell."""
    decimals = decimals if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:z.{decimals}f}"
