"""Means and variances by task: how much a unit varies over the stimuli of a task, and of which task more."""

import numpy as np

from clntk.measures.tuning.design import Design, PerUnit


def sample_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis; by rounding that of equal numbers could lie beyond them, here it never does."""
    return np.clip(values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def sample_variance(values: np.ndarray) -> np.ndarray:
    """Variance over the first axis, divided by n − 1; NaN for a single value, exactly 0 for equal ones."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    # the mean of equal numbers need not be equal to them, but that of zeros is
    return (values - values[0]).var(axis=0, ddof=1)


def near_one(values: np.ndarray) -> np.ndarray:
    """Columns times a power of two, which changes no digit, so that the largest is near 1: squares of very small values
    would vanish, those of very large ones overflow."""
    return np.ldexp(values, -np.frexp(np.abs(values).max(axis=0, initial=0.0))[1])


def task_variances(arranged: np.ndarray, design: Design) -> PerUnit:
    """Task variance and fractional task variance of the raw activation.

    Args:
        arranged: shape (arranged examples, unit).
        design: of these examples; repeats of a stimulus are averaged first.

    Returns:
        - ``task_variance``: variance over a task's stimuli (divided by n − 1, so that tasks of unequal size
          compare), divided by its maximum over tasks; shape (unit, task), in [0, 1]; NaN for a task of one
          stimulus, and for a unit that varies within no task;
        - ``fractional_task_variance``: (TV_A − TV_B)/(TV_A + TV_B), shape (unit, task A, task B), in [−1, 1];
          NaN where either is not known or both are zero.

    Source: Yang et al. 2019, "Task representations in neural networks trained to perform many cognitive
    tasks".
    """
    sizes = np.diff([*design.task_starts, len(arranged)])
    # off the first of its task, what is constant within a task is zero, however it is averaged
    moved = near_one(arranged - np.repeat(arranged[design.task_starts], sizes, axis=0))
    responses = design.cell_means(moved)
    first_cells = np.searchsorted(design.cell_task, np.arange(1, len(design.tasks)))
    variance = np.stack([sample_variance(block) for block in np.split(responses, first_cells)], axis=-1)
    top = np.fmax.reduce(variance, axis=-1, keepdims=True)
    normed = np.divide(variance, top, out=np.full(variance.shape, np.nan), where=top > 0)
    one, other = normed[:, :, None], normed[:, None, :]
    total = one + other
    fractional = np.divide(one - other, total, out=np.full(total.shape, np.nan), where=total > 0)
    return {"task_variance": normed, "fractional_task_variance": fractional}
