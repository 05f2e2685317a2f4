"""Drift: how the tangent kernel of a task moves during training.

First the pair functions, on arrays of shape (..., N, N) that broadcast against each other; then the measures,
which apply them to the within-task blocks K_tt. In all of them K is the kernel now and K' the reference.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OTHER_PROBE, OTHER_TASK, PROBE, STEP, TASK
from clntk.errors import DataError
from clntk.measures.laziness import refuse_without_init
from clntk.registry import register

REFERENCE = "reference"  # dimension of the checkpoints compared with
Reference = Literal["init", "previous", "every"]


def _norm(K: np.ndarray) -> np.ndarray:
    """Frobenius norms, with the two kernel axes kept so that kernels can be divided by them."""
    return np.linalg.norm(K, axis=(-2, -1), keepdims=True)


def _unit(K: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """K/‖K‖, NaN where the norm is zero."""
    return np.divide(K, norm, out=np.full(K.shape, np.nan), where=norm > 0)


def cosine_distance(K: np.ndarray, K2: np.ndarray) -> np.ndarray:
    """Kernel distance S = 1 − ⟨K,K'⟩_F/(‖K‖_F‖K'‖_F).

    Shape (...); in [0, 2], and in [0, 1] for positive semi-definite kernels; blind to scale; NaN if either
    kernel is all zero. Computed as ½‖K/‖K‖ − K'/‖K'‖‖²: it is the same number, but S is second order in small
    changes and 1 − cosine would leave nothing of it below 1e-16.

    Source: Fort et al. 2020, "Deep learning versus kernel learning".
    """
    gap = _unit(K, _norm(K)) - _unit(K2, _norm(K2))
    return 0.5 * (gap**2).sum(axis=(-2, -1))


def _centred(K: np.ndarray) -> np.ndarray:
    """HKH with H = I − 11ᵀ/N, set to exact zeros where only rounding is left of it."""
    centred = K - K.mean(axis=-1, keepdims=True)
    centred = centred - centred.mean(axis=-2, keepdims=True)
    return np.where(_norm(centred) > K.shape[-1] * np.finfo(np.float64).eps * _norm(K), centred, 0.0)


def centred_alignment(K: np.ndarray, K2: np.ndarray) -> np.ndarray:
    """Centred kernel alignment ⟨HKH,HK'H⟩_F/(‖HKH‖_F‖HK'H‖_F) with H = I − 11ᵀ/N.

    Shape (...); in [−1, 1], and in [0, 1] for positive semi-definite kernels; 1 for equal kernels up to
    scale; NaN if centring leaves nothing of either kernel, as of a constant one.

    Source: Cortes et al. 2012, "Algorithms for learning kernels based on centered alignment"; CKA of
    Kornblith et al. 2019.
    """
    return 1.0 - cosine_distance(_centred(K), _centred(K2))


def relative_change(K: np.ndarray, K2: np.ndarray) -> np.ndarray:
    """Relative kernel change ‖K−K'‖_F/‖K'‖_F.

    Shape (...); ≥ 0; first order in small changes and sensitive to scale; NaN if the reference K' is all
    zero.
    """
    norm = _norm(K2)
    change = _norm(K - K2)
    return np.divide(change, norm, out=np.full(change.shape, np.nan), where=norm > 0)[..., 0, 0]


Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]


def within_task(kernels: xr.DataArray) -> xr.DataArray:
    """The blocks K_tt in float64, of shape (checkpoint, eval_task, probe, other_probe)."""
    tasks = kernels[EVAL_TASK]
    blocks = kernels.sel({EVAL_TASK: tasks, OTHER_TASK: tasks}).drop_vars(OTHER_TASK)
    return blocks.transpose(CHECKPOINT, EVAL_TASK, PROBE, OTHER_PROBE).astype(np.float64, copy=False)


def against(blocks: xr.DataArray, reference: Reference, pair: Pair, name: str) -> xr.DataArray:
    """``pair`` of every kernel with the same kernel at a reference checkpoint.

    Args:
        blocks: kernels of shape (checkpoint, ..., probe, other_probe).
        reference: ``"init"``, ``"previous"`` (the first row is then NaN), or ``"every"``, which adds a last
            dimension of the checkpoints compared with.
        pair: one of the functions above.
        name: of the measure, for the result and for errors.

    Raises:
        DataError: if the reference is none of the three, or is ``"init"`` and was not recorded.
    """
    K = blocks.values
    like = blocks.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True)
    match reference:
        case "init":
            refuse_without_init(blocks, name)
            return like.copy(data=pair(K, K[:1])).rename(name)
        case "previous":
            first = np.full((1, *K.shape[1:-2]), np.nan)
            return like.copy(data=np.concatenate([first, pair(K[1:], K[:-1])])).rename(name)
        case "every":
            # one reference at a time: all pairs at once would hold checkpoints² kernels in memory
            every = np.stack([pair(K, K_ref) for K_ref in K], axis=-1)
            labels = blocks[CHECKPOINT].values
            result = like.expand_dims({REFERENCE: labels}, axis=-1)
            return result.copy(data=every).rename(name)
    raise DataError(
        f"{name}, reference: expected 'init', 'previous' or 'every', found {reference!r}; choose one of them"
    )


@register("measure")
def kernel_distance(kernels: xr.DataArray, *, reference: Reference = "init") -> xr.DataArray:
    """Kernel distance S of every task's kernel to the same kernel at a reference checkpoint.

    Shape (checkpoint, eval_task), and (checkpoint, eval_task, reference) for ``reference="every"``; in [0,
    1], zero for a kernel that only changed in scale. ``"previous"`` is the checkpoint before, so its first
    row is NaN. NaN where a block is all zero.

    Raises:
        DataError: if the reference is none of the three, or is ``"init"`` and was not recorded.

    Source: Fort et al. 2020, "Deep learning versus kernel learning".
    """
    return against(within_task(kernels), reference, cosine_distance, "kernel_distance")


@register("measure")
def kernel_alignment(kernels: xr.DataArray, *, reference: Reference = "init") -> xr.DataArray:
    """Centred alignment (CKA) of every task's kernel with the same kernel at a reference checkpoint.

    Shape as of :func:`kernel_distance`; in [0, 1], one for a kernel that only changed in scale. For
    ``"previous"`` the first row is NaN. NaN where centring leaves nothing of a block, as of a constant one.

    Raises:
        DataError: if the reference is none of the three, or is ``"init"`` and was not recorded.

    Source: Cortes et al. 2012, "Algorithms for learning kernels based on centered alignment".
    """
    return against(within_task(kernels), reference, centred_alignment, "kernel_alignment")


@register("measure")
def relative_kernel_change(kernels: xr.DataArray, *, reference: Reference = "init") -> xr.DataArray:
    """Norm of the change of every task's kernel since a reference checkpoint, relative to the reference.

    Shape as of :func:`kernel_distance`; ≥ 0, zero for a kernel that has not changed at all. For
    ``"previous"`` the first row is NaN. NaN where the reference block is all zero.

    Raises:
        DataError: if the reference is none of the three, or is ``"init"`` and was not recorded.

    Source: Geiger et al. 2020, "Disentangling feature and lazy training in deep neural networks".
    """
    return against(within_task(kernels), reference, relative_change, "relative_kernel_change")


def _over_intervals(velocity: xr.DataArray) -> xr.DataArray:
    """The mean over all intervals: each of them is one sample of how fast the kernel moves."""
    return velocity.mean(CHECKPOINT)


@register("measure", scalar=_over_intervals)
def kernel_velocity(kernels: xr.DataArray) -> xr.DataArray:
    """Kernel distance S between neighbouring checkpoints, over the optimizer steps between them.

    Shape (checkpoint, eval_task), each row the interval that ends at its checkpoint; per step, ≥ 0; the first
    row is NaN, and so is an interval without steps. The coordinate ``after_switch`` is true where the interval
    is the first of another task than the one before (and of the first task). It is a mean velocity: a kernel
    that leaves and comes back within an interval has none. The number per run is the mean over all intervals.

    Raises:
        DataError: if the checkpoints carry no ``step`` or no ``task``.

    Source: Fort et al. 2020, "Deep learning versus kernel learning".
    """
    missing = [axis for axis in (STEP, TASK) if axis not in kernels.coords]
    if missing:
        raise DataError(
            f"kernel_velocity, kernels: expected the coordinates {STEP!r} and {TASK!r} of every checkpoint, found no "
            f"{missing[0]!r}; assign them along {CHECKPOINT!r}"
        )
    distance = against(within_task(kernels), "previous", cosine_distance, "kernel_velocity")
    steps, tasks = kernels[STEP].values, kernels[TASK].values
    taken = np.diff(steps, prepend=steps[:1]).astype(np.float64)[:, None]
    velocity = np.divide(distance.values, taken, out=np.full(distance.shape, np.nan), where=taken > 0)
    switched = np.concatenate([[False], tasks[1:] != tasks[:-1]])
    return distance.copy(data=velocity).assign_coords(after_switch=(CHECKPOINT, switched))
