"""Interference: how much a step on one task moves the outputs of another.

To first order, one step of gradient descent on task t changes the outputs on task s by −η K_st ∂L_t/∂f(X_t):
the block K_st is the channel through which t can disturb s, and where it is zero, nothing is forgotten.
"""

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OTHER_PROBE, OTHER_TASK, PROBE
from clntk.registry import register


def _between_tasks(overlap: xr.DataArray) -> xr.DataArray:
    """Only pairs of different tasks: the diagonal is one by definition and would hide the rest."""
    return overlap.where(overlap[EVAL_TASK] != overlap[OTHER_TASK])


@register("measure", scalar=_between_tasks)
def cross_task_overlap(kernels: xr.DataArray) -> xr.DataArray:
    """Norm of the kernel between two tasks relative to those within them: ‖K_st‖_F/√(‖K_ss‖_F‖K_tt‖_F).

    Shape (checkpoint, eval_task, other_task); in [0, 1] for kernels of one network (the joint kernel is
    positive semi-definite, so Cauchy–Schwarz holds block by block), symmetric, exactly 1 on the diagonal.
    Zero if no tangent feature is shared. NaN for every pair with a task whose own block is all zero. The
    number per run is the mean over pairs of different tasks at the last checkpoint.
    """
    # as in the rows, so in the columns: the diagonal below has to be the blocks K_tt
    kernels = kernels.sel({OTHER_TASK: kernels[EVAL_TASK].values})
    blocks = kernels.transpose(CHECKPOINT, EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE)
    norms = np.linalg.norm(blocks.values.astype(np.float64, copy=False), axis=(-2, -1))
    own = np.diagonal(norms, axis1=1, axis2=2)
    # √(x·x) is x to the last bit in binary floating point, √x·√x is not
    scale = np.sqrt(own[:, :, None] * own[:, None, :])
    overlap = np.divide(norms, scale, out=np.full(norms.shape, np.nan), where=scale > 0)
    return blocks.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True).copy(data=overlap).rename("cross_task_overlap")
