"""Unit tuning: which tasks a hidden unit responds to.

The indices are taken on the rectified activation max(a, 0), so that they are defined for every nonlinearity:
a unit is *active* on an example if a > 0. For ReLU this is the activation itself; the negative side of tanh
or linear units counts as silence, and a unit that is never positive counts as dead *on the rectified code*.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, PROBE, UNIT
from clntk.errors import DataError
from clntk.registry import register


def _indices(mean: np.ndarray, ever_active: np.ndarray) -> dict[str, np.ndarray]:
    """All indices of units from what each task evokes in them.

    Args:
        mean: rectified activation averaged over the examples of a task, shape (..., task, unit), ≥ 0.
        ever_active: whether the unit is above zero on any example of the task, same shape.

    Returns:
        arrays of shape (..., unit); ``preferred`` is the position of the preferred task.
    """
    n_tasks = mean.shape[-2]
    top = mean.max(axis=-2)
    # the minimum, because by rounding the mean of equals can exceed them
    others = np.minimum((mean.sum(axis=-2) - top) / (n_tasks - 1), top)
    total = top + others
    active_tasks = ever_active.sum(axis=-2)
    return {
        "selectivity": np.divide(top - others, total, out=np.full(top.shape, np.nan), where=total > 0),
        "preferred": mean.argmax(axis=-2),
        "active_tasks": active_tasks,
        "task_only": active_tasks == 1,
        "mixed": active_tasks >= 2,
        "dead": active_tasks == 0,
    }


def _dataset(
    raw: np.ndarray, rectified: np.ndarray, ever_active: np.ndarray, tasks: Sequence[str]
) -> xr.Dataset:
    """The indices as labelled arrays; the arguments have shape (unit's other axes, task, unit)."""
    lead = (CHECKPOINT,) * (raw.ndim - 2)
    indices = _indices(rectified, ever_active)
    labels = np.where(indices["dead"], "", np.asarray(tasks, dtype=str)[indices.pop("preferred")])
    columns = {
        "mean_activation": ((*lead, UNIT, EVAL_TASK), raw.swapaxes(-1, -2)),
        "selectivity": ((*lead, UNIT), indices.pop("selectivity")),
        "preferred_task": ((*lead, UNIT), labels),
    }
    columns |= {name: ((*lead, UNIT), values) for name, values in indices.items()}
    return xr.Dataset(columns, coords={UNIT: np.arange(raw.shape[-1]), EVAL_TASK: list(tasks)})


def _array(values: Any) -> np.ndarray:
    """Anything array-like as NumPy; tensors leave their graph and device first."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values)


def _refuse_non_finite(values: np.ndarray, where: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        first = int(np.flatnonzero(bad.any(axis=tuple(range(values.ndim - 1))))[0])
        raise DataError(
            f"{where}: expected finite activations, found {int(bad.sum())} NaN or infinite, the first of "
            f"them in unit {first}; look for a diverged network, or leave these examples out"
        )


def _refuse_one_task(n_tasks: int, where: str) -> None:
    if n_tasks < 2:
        raise DataError(
            f"{where}: expected at least two tasks, found {n_tasks}; "
            "tuning compares tasks, so give examples of several"
        )


def _task_codes(tasks: Any, n_examples: int) -> tuple[np.ndarray, list[str]]:
    """The position of each example's task, and the tasks' labels as text in order of first appearance."""
    if getattr(tasks, "ndim", 1) != 1:
        raise DataError(
            f"task_tuning, tasks: expected one label for each example, found an array of {tasks.ndim} "
            "dimensions; pass a flat list of labels"
        )
    labels = _array(tasks).tolist() if hasattr(tasks, "ndim") else list(tasks)
    if len(labels) != n_examples:
        raise DataError(
            f"task_tuning, tasks: expected {n_examples} labels, one for each row of activations, found "
            f"{len(labels)}; examples are rows, units columns: is the array transposed?"
        )
    missing = int(pd.isna(pd.Series(labels, dtype=object)).sum())
    if missing:
        raise DataError(
            f"task_tuning, tasks: expected a label for every example, found {missing} missing; "
            "leave those examples out"
        )
    codes, names = pd.factorize(np.array([str(label) for label in labels], dtype=object))
    _refuse_one_task(len(names), "task_tuning, tasks")
    return codes, list(names)


def task_tuning(activations: Any, tasks: Sequence[Hashable]) -> xr.Dataset:
    """Unit task-tuning indices from plain arrays.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        tasks: shape (examples,), labels of any hashable type, told apart by their text. Tasks are ordered by
            first appearance.

    Returns:
        a dataset with dimension unit:

        - ``mean_activation`` (unit, eval_task): of the raw activation, in its units;
        - ``selectivity``: (a_max − mean of the others)/(a_max + mean of the others) on the tasks' means of
          the rectified activation, in [0, 1]; 0 if all tasks evoke the same, 1 if only one does; NaN for a
          dead unit;
        - ``preferred_task``: label of the task with the largest rectified mean, the first in order if several
          are equal; ``""`` for a dead unit;
        - ``active_tasks``: number of tasks on whose examples the unit is ever above zero;
        - ``task_only``, ``mixed``, ``dead``: active on exactly one task, on two or more, on none.

    Raises:
        DataError: for activations that are not two-dimensional or not finite, labels that are missing or do
            not match them in number, and fewer than two tasks.

    Source: selectivity of Morcos et al. 2018, "On the importance of single directions for generalization",
    tasks in place of classes; exact-zero classes of Flesch et al. 2022, "Orthogonal representations for
    robust context-dependent task performance", generalised from two tasks to any number.
    """
    values = _array(activations)
    if values.ndim != 2:
        raise DataError(
            f"task_tuning, activations: expected shape (examples, units), found {values.shape}; "
            "flatten or average over all other dimensions first"
        )
    values = values.astype(np.float64, copy=False)
    codes, names = _task_codes(tasks, len(values))
    _refuse_non_finite(values, "task_tuning, activations")
    groups = [values[codes == code] for code in range(len(names))]
    raw, rectified, ever_active = (np.stack(rows) for rows in zip(*map(_task_row, groups), strict=True))
    return _dataset(raw, rectified, ever_active, names)


def _task_row(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, rectified mean and ever-active of one task; the examples are on the last axis but one."""
    return values.mean(axis=-2), np.maximum(values, 0.0).mean(axis=-2), (values > 0).any(axis=-2)


def _coding(tuning: xr.Dataset) -> xr.Dataset:
    """The indices that have a meaning on average over units."""
    return tuning[["selectivity", "task_only", "mixed", "dead"]]


@register("measure", scalar=_coding)
def unit_tuning(activations: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Unit task-tuning indices of all hidden layers at every checkpoint.

    The variables of :func:`task_tuning`, with dimensions (checkpoint, unit), and eval_task for
    ``mean_activation``. The units of all layers follow each other along ``unit``, with their layer in the
    coordinate ``layer``. The numbers per run are the mean selectivity of the units that are not dead, and the
    fractions of units that are task-only, mixed and dead, at the last checkpoint.

    Raises:
        DataError: if there are no layers, fewer than two tasks, or activations that are not finite.

    Source: :func:`task_tuning`.
    """
    if not activations:
        raise DataError(
            "activations: expected at least one layer, found none; record activations of hidden layers"
        )
    layers = {
        name: layer.transpose(CHECKPOINT, EVAL_TASK, PROBE, UNIT) for name, layer in activations.items()
    }
    first = next(iter(layers.values()))
    tasks = [str(label) for label in first[EVAL_TASK].values]
    _refuse_one_task(len(tasks), "activations")
    for name, layer in layers.items():
        _refuse_non_finite(layer.values, f"activations of layer {name!r}")
    rows = zip(
        *(_task_row(layer.values.astype(np.float64, copy=False)) for layer in layers.values()), strict=True
    )
    tuning = _dataset(*(np.concatenate(parts, axis=-1) for parts in rows), tasks)
    sizes = [layer.sizes[UNIT] for layer in layers.values()]
    return tuning.assign_coords(first[CHECKPOINT].coords).assign_coords(
        {LAYER: (UNIT, np.repeat(list(layers), sizes))}
    )
