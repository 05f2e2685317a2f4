"""The indices of the rectified code: selectivity, exact-zero classes, d′, lifetime sparseness."""

import numpy as np

from clntk.measures.tuning.design import Design, PerUnit
from clntk.measures.tuning.information import mutual_information
from clntk.measures.tuning.variance import near_one, sample_mean, sample_variance


def selectivity(mean: np.ndarray) -> np.ndarray:
    """(a_max − mean of the others)/(a_max + mean of the others).

    Args:
        mean: rectified activation averaged over the examples of a task, shape (…, task, unit), ≥ 0.

    Returns:
        shape (…, unit), in [0, 1]; NaN where all means are zero.

    Source: Morcos et al. 2018, "On the importance of single directions for generalization", tasks in place of
    classes.
    """
    top = mean.max(axis=-2)
    # the minimum, because by rounding the mean of equals can exceed them
    others = np.minimum((mean.sum(axis=-2) - top) / (mean.shape[-2] - 1), top)
    total = top + others
    return np.divide(top - others, total, out=np.full(top.shape, np.nan), where=total > 0)


def d_prime(mean: np.ndarray, variance: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    """(μ_preferred − μ_rest)/√(½(σ²_preferred + σ²_rest)), the rest a mixture of equal parts of the other tasks.

    So σ²_rest is the mean of the other tasks' variances (of those that have one) plus the variance of their
    means.

    Args:
        mean: shape (task, unit).
        variance: shape (task, unit); NaN for a task of one example.
        preferred: position of the task with the largest mean, shape (unit,).

    Returns:
        shape (unit,), ≥ 0; 0 if the means are equal, infinite if they differ and nothing varies, NaN if the
        variance of the preferred task, or of all others, is not known.

    Source: Green & Swets 1966, "Signal detection theory and psychophysics", with the root mean square of the
    two standard deviations.
    """
    other = np.arange(len(mean))[:, None] != preferred
    mean = mean - mean.min(axis=0)  # equal means become exact zeros, whose variance is exactly zero
    known = other & ~np.isnan(variance)
    n_known = known.sum(axis=0)
    within = np.divide(
        np.where(known, variance, 0.0).sum(axis=0),
        n_known,
        out=np.full(n_known.shape, np.nan),
        where=n_known > 0,
    )
    n_others = len(mean) - 1
    rest = np.where(other, mean, 0.0).sum(axis=0) / n_others
    between = np.where(other, (mean - rest) ** 2, 0.0).sum(axis=0) / n_others
    units = np.arange(mean.shape[1])
    noise = np.sqrt((variance[preferred, units] + within + between) / 2)
    signal = mean[preferred, units] - rest
    silent = np.where(signal > 0, np.inf, 0.0)
    return np.divide(signal, noise, out=silent, where=(noise > 0) | np.isnan(noise))


def lifetime_sparseness(responses: np.ndarray) -> np.ndarray:
    """S = (1 − (Σrᵢ/n)²/(Σrᵢ²/n))/(1 − 1/n) over n responses.

    Args:
        responses: shape (n, unit), ≥ 0.

    Returns:
        shape (unit,), in [0, 1]: 0 if all responses are equal, 1 if there is one alone; NaN if there is none.

    Source: Vinje & Gallant 2000, "Sparse coding and decorrelation in primary visual cortex during natural
    vision".
    """
    n, top = len(responses), responses.max(axis=0)
    scaled = np.divide(responses, top, out=np.full(responses.shape, np.nan), where=top > 0)
    sparseness = (1 - scaled.mean(axis=0) ** 2 / (scaled**2).mean(axis=0)) / (1 - 1 / n)
    return np.clip(sparseness, 0.0, 1.0)


def indices(arranged: np.ndarray, design: Design) -> PerUnit:
    """All indices that are one number a unit, and the means.

    Args:
        arranged: activations in double precision, shape (arranged examples, unit).
        design: of these examples.

    Returns:
        arrays of shape (unit,), and (unit, task) for ``mean_activation``; ``preferred`` is a position.
    """
    scaled = near_one(arranged)  # all but the mean activation are blind to that
    rectified = np.maximum(scaled, 0.0)
    blocks = design.by_task(rectified)
    mean = np.stack([sample_mean(block) for block in blocks])
    active_tasks = np.stack([block.any(axis=0) for block in blocks]).sum(axis=0)
    dead = active_tasks == 0
    preferred = mean.argmax(axis=0)
    separation = d_prime(mean, np.stack([sample_variance(block) for block in blocks]), preferred)
    return {
        "mean_activation": np.stack([sample_mean(block) for block in design.by_task(arranged)], axis=-1),
        "selectivity": selectivity(mean),
        "preferred": preferred,
        "active_tasks": active_tasks,
        "task_only": active_tasks == 1,
        "mixed": active_tasks >= 2,
        "dead": dead,
        "d_prime": np.where(dead, np.nan, separation),
        "mutual_information": mutual_information(scaled, design),
        "lifetime_sparseness": lifetime_sparseness(design.cell_means(rectified)),
    }
