"""What users hand over, checked and made plain."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clntk.errors import DataError
from clntk.measures.tuning.design import Design


def plain_array(values: Any) -> np.ndarray:
    """Anything array-like as NumPy; tensors leave their graph and device first."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # NumPy has no bfloat16; single precision holds it exactly
        values = values.float() if values.is_floating_point() and values.itemsize < 4 else values
    return np.asarray(values)


def finite_table(values: Any, where: str, *, of: str = "activations", column: str = "unit") -> np.ndarray:
    """An array of finite numbers, examples × columns.

    Raises:
        DataError: if it is anything else.
    """
    array = plain_array(values)
    if array.ndim != 2:
        raise DataError(
            f"{where}: expected shape (examples, {column}s), found {array.shape}; "
            "flatten or average over all other dimensions first"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{where}: expected real numbers, found elements of type {array.dtype}; "
            "convert them, for instance with astype(float)"
        )
    refuse_non_finite(array, where, of=of, column=column)
    return array


def refuse_non_finite(
    values: np.ndarray, where: str, *, of: str = "activations", column: str = "unit"
) -> None:
    """An error that names the first unit (on the last axis) with a number that is not finite."""
    bad = ~np.isfinite(values)
    if bad.any():
        first = int(np.flatnonzero(bad.any(axis=tuple(range(values.ndim - 1))))[0])
        raise DataError(
            f"{where}: expected finite {of}, found {int(bad.sum())} NaN or infinite, the first of "
            f"them in {column} {first}; look for a diverged network, or leave these examples out"
        )


def refuse_one_task(n_tasks: int, where: str) -> None:
    if n_tasks < 2:
        raise DataError(
            f"{where}: expected at least two tasks, found {n_tasks}; "
            "tuning compares tasks, so give examples of several"
        )


def factor(labels: Any, n_examples: int, where: str) -> tuple[np.ndarray, list[str]]:
    """The position of each example's label, and the labels as text in order of first appearance.

    Raises:
        DataError: for labels that are not flat, missing, or not one for each example.
    """
    if getattr(labels, "ndim", 1) != 1:
        raise DataError(
            f"{where}: expected one label for each example, found an array of {labels.ndim} "
            "dimensions; pass a flat list of labels"
        )
    flat = plain_array(labels).tolist() if hasattr(labels, "ndim") else list(labels)
    if len(flat) != n_examples:
        raise DataError(
            f"{where}: expected {n_examples} labels, one for each row of activations, found "
            f"{len(flat)}; examples are rows, units columns: is the array transposed?"
        )
    missing = int(pd.isna(pd.Series(flat, dtype=object)).sum())
    if missing:
        raise DataError(
            f"{where}: expected a label for every example, found {missing} missing; leave those examples out"
        )
    codes, names = pd.factorize(np.array([str(label) for label in flat], dtype=object))
    return codes, list(names)


def design_of(tasks: Sequence, stimuli: Sequence | None, n_examples: int, where: str) -> Design:
    """The design that task and stimulus labels describe.

    Raises:
        DataError: for labels that :func:`factor` refuses, and fewer than two tasks.
    """
    task, names = factor(tasks, n_examples, f"{where}, tasks")
    refuse_one_task(len(names), f"{where}, tasks")
    if stimuli is None:
        return Design.without_stimuli(names, task)
    return Design(names, task, factor(stimuli, n_examples, f"{where}, stimuli")[0])
