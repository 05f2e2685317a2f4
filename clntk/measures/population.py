"""What the measures of population geometry share: patterns of activity, and layers at checkpoints.

A *pattern* is the activity of all units on one example; patterns are rows, units columns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, PROBE, UNIT
from clntk.errors import DataError
from clntk.measures.tuning.inputs import finite_table, refuse_non_finite

Columns = Mapping[str, tuple[tuple[str, ...], Any]]  # name → dimensions and values


def patterns(activations: Any, where: str) -> np.ndarray:
    """Activations in float64, of shape (examples, units).

    Args:
        activations: NumPy, torch or xarray, two-dimensional.
        where: the place named in errors.

    Raises:
        DataError: unless they are two-dimensional, with at least one example and one unit, and finite numbers.
    """
    values = finite_table(activations, where)
    if 0 in values.shape:
        raise DataError(
            f"{where}: expected at least one example and one unit, found {values.shape[0]} and {values.shape[1]}"
        )
    return values.astype(np.float64, copy=False)


def centred(values: np.ndarray) -> np.ndarray:
    """Patterns less their mean, set to exact zeros where only rounding is left; shape (..., examples, units)."""
    moved = values - values.mean(axis=-2, keepdims=True)
    size, left = (np.linalg.norm(v, axis=(-2, -1), keepdims=True) for v in (values, moved))
    return np.where(left > values.shape[-2] * np.finfo(np.float64).eps * size, moved, 0.0)


def principal_axes(moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of Σ xxᵀ over examples, largest first, and its eigenvectors as columns.

    Args:
        moved: shape (examples, units), centred.

    Returns:
        shapes (m,) and (units, m), with m the smaller of examples and units. Eigenvalues that are zero but for
        rounding are zero, and their vectors mean nothing; those of small ones are at right angles with less precision.
    """
    n, units = moved.shape
    squares = moved @ moved.T if n <= units else moved.T @ moved
    eigenvalues, vectors = (part[..., ::-1] for part in np.linalg.eigh(squares))
    rounding = max(n, units) * np.finfo(np.float64).eps * eigenvalues[0]
    eigenvalues = np.where(eigenvalues > rounding, eigenvalues, 0.0)
    if n > units:
        return eigenvalues, vectors
    lengths = np.sqrt(eigenvalues)
    return eigenvalues, np.divide(moved.T @ vectors, lengths, out=np.zeros((units, n)), where=lengths > 0)


def joint(values: np.ndarray) -> np.ndarray:
    """The patterns of all tasks, task after task: (task, probe, unit) → (task · probe, unit)."""
    return values.reshape(-1, values.shape[-1])


def by_layer(
    activations: Mapping[str, xr.DataArray],
    measured: Callable[[np.ndarray], Columns],
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Apply a function to every hidden layer at every checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        measured: from the patterns of shape (eval_task, probe, unit), in float64, to named columns.
        coords: labels of the dimensions that the columns have besides eval_task.

    Returns:
        the columns, with dimensions checkpoint and layer before their own.

    Raises:
        DataError: if there are no layers, probes or units, or activations that are not finite.
    """
    if not activations:
        raise DataError(
            "activations: expected at least one layer, found none; record activations of hidden layers"
        )
    layers = [layer.transpose(CHECKPOINT, EVAL_TASK, PROBE, UNIT) for layer in activations.values()]
    rows = []
    for name, layer in zip(activations, layers, strict=True):
        if 0 in layer.shape:
            raise DataError(
                f"activations of layer {name!r}: expected checkpoints, tasks, probes and units, and some of each; "
                f"found {dict(layer.sizes)}"
            )
        refuse_non_finite(layer.values, f"activations of layer {name!r}")
        rows.append([measured(values.astype(np.float64, copy=False)) for values in layer.values])
    columns = {
        name: (
            (CHECKPOINT, LAYER, *dims),
            np.stack([np.stack([row[k][name][1] for row in rows]) for k in range(len(rows[0]))]),
        )
        for name, (dims, _) in rows[0][0].items()
    }
    labels = dict(layers[0][CHECKPOINT].coords) | {LAYER: list(activations)} | dict(coords or {})
    if any(EVAL_TASK in dims for dims, _ in columns.values()):
        labels[EVAL_TASK] = layers[0][EVAL_TASK].values
    return xr.Dataset(columns, coords=labels)
