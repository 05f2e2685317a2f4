"""Tangent subspaces: along how many common directions of weight space two tasks learn.

A task's tangent subspace is spanned by the gradients of its outputs, the rows of Φ with K = ΦΦᵀ. Angles between two
of them follow from kernels alone: with K_ss = U Λ Uᵀ, the rows of Λ^(−1/2) Uᵀ Φ_s are an orthonormal basis.
"""

from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import CHECKPOINT, EVAL_TASK, OTHER_PROBE, OTHER_TASK, PROBE
from clntk.errors import DataError
from clntk.measures.geometry import cumulative_variance
from clntk.measures.interference import between_tasks, square
from clntk.measures.tuning.inputs import refuse_non_finite
from clntk.registry import register


def _whitening(K: np.ndarray, variance: float) -> np.ndarray:
    """U Λ^(−1/2) of the leading eigenvectors that hold the share of the trace, of shape (n, k)."""
    eigenvalues, vectors = np.linalg.eigh(K)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    held = cumulative_variance(eigenvalues)
    # a share that is reached but for rounding is reached; what rounding has left of a kernel's rank is no direction
    k = int((held < variance * (1 - 1e-12)).sum()) + 1
    k = min(k, int((eigenvalues > len(K) * np.finfo(np.float64).eps * eigenvalues[0]).sum()))
    return vectors[:, :k] / np.sqrt(eigenvalues[:k])


def overlap_matrix(
    K_ss: np.ndarray, K_st: np.ndarray, K_tt: np.ndarray, *, variance: float = 1.0
) -> np.ndarray:
    """NTK overlap matrix V_sᵀV_t of two tasks, from the blocks of their joint kernel.

    Its singular values are the cosines of the principal angles between the tasks' tangent subspaces. Of full kernels,
    flattened to (examples · outputs) rows, these are spanned by the gradients of every output; of kernels in trace
    mode, a direction is one of all outputs' weights side by side.

    Args:
        K_ss: shape (n, n), positive semi-definite.
        K_st: shape (n, m).
        K_tt: shape (m, m), positive semi-definite.
        variance: share in (0, 1] of a kernel's trace that the subspace holds; the fewest leading eigenvectors that do
            are kept, and never those whose eigenvalue is rounding, below n ε times the largest.

    Returns:
        shape (k_s, k_t), rows and columns by falling eigenvalue; singular values in [0, 1] but for rounding.

    Raises:
        DataError: for shapes that do not fit, kernels that are not finite or not positive semi-definite, a share that
            is none.

    Source: Doan et al. 2021, "A theoretical analysis of catastrophic forgetting through the NTK overlap matrix",
    arXiv 2010.04003.
    """
    K_ss, K_st, K_tt = (np.asarray(K, dtype=np.float64) for K in (K_ss, K_st, K_tt))
    if K_st.ndim != 2 or (K_ss.shape, K_tt.shape) != tuple((n, n) for n in K_st.shape):
        raise DataError(
            "overlap_matrix: expected K_ss (n, n), K_st (n, m) and K_tt (m, m), found "
            f"{K_ss.shape}, {K_st.shape} and {K_tt.shape}; flatten full kernels to (examples · outputs)"
        )
    if not 0 < variance <= 1:
        raise DataError(f"overlap_matrix, variance: expected a share in (0, 1], found {variance}")
    for K in (K_ss, K_st, K_tt):
        refuse_non_finite(K, "overlap_matrix", of="kernels", column="probe")
    return _whitening(K_ss, variance).T @ K_st @ _whitening(K_tt, variance)


def _described(overlap: np.ndarray) -> tuple[float, float, float]:
    """Mean squared cosine, smallest and largest angle in degrees; NaN where a task has no directions."""
    cosines = np.minimum(np.linalg.svd(overlap, compute_uv=False), 1.0)
    if not cosines.size:
        return (float("nan"),) * 3
    angles = np.rad2deg(np.arccos(cosines))
    return float((cosines**2).mean()), float(angles[0]), float(angles[-1])


@register("measure", scalar=between_tasks)
def tangent_subspaces(
    kernels: xr.DataArray, *, variance: Annotated[float, Field(gt=0, le=1)] = 0.99
) -> xr.Dataset:
    """Principal angles between the directions of weight space along which two tasks are learned.

    Of the recorded kernels in trace mode: a direction is one of all outputs' weights side by side, and a task has at
    most as many as probes. All but ``dimension`` have shape (checkpoint, eval_task, other_task) and are symmetric:

    - ``overlap``: mean squared cosine of the principal angles, in [0, 1]: 1 where one subspace holds the other, 0
      where a step on one task cannot move the outputs of the other at all;
    - ``smallest_angle``, ``largest_angle``: the first and last principal angle in degrees, in [0, 90], below
      1e-6 indistinguishable from zero. The cosine of the smallest bounds the forgetting of Doan et al.;
    - ``dimension`` (checkpoint, eval_task): dimensions of the task's subspace.

    NaN (dimension 0) for a task whose own block is all zero. The numbers per run are means over pairs of different
    tasks at the last checkpoint.

    Args:
        kernels: the recorded kernel blocks.
        variance: share of a block's trace that the task's subspace holds. All of it would weigh directions that
            hardly learn as much as those that do.

    Raises:
        DataError: for kernels that are not finite, or not positive semi-definite.

    Source: Doan et al. 2021, "A theoretical analysis of catastrophic forgetting through the NTK overlap matrix".
    """
    blocks = square(kernels).transpose(CHECKPOINT, EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE)
    refuse_non_finite(blocks.values, "tangent_subspaces, kernels", of="kernels", column="probe")
    rows, dimensions = [], []
    for K in blocks.values.astype(np.float64, copy=False):
        bases = [_whitening(K[t, t], variance) for t in range(len(K))]
        rows.append(
            [[_described(a.T @ K[s, t] @ b) for t, b in enumerate(bases)] for s, a in enumerate(bases)]
        )
        dimensions.append([basis.shape[1] for basis in bases])
    like = blocks.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True)
    names = ("overlap", "smallest_angle", "largest_angle")
    found = {
        name: like.copy(data=values)
        for name, values in zip(names, np.moveaxis(np.asarray(rows), -1, 0), strict=True)
    }
    own = like.isel({OTHER_TASK: 0}, drop=True)
    return xr.Dataset(found | {"dimension": own.copy(data=np.asarray(dimensions))})
