"""How far a network of finite width is from the kernel that it would have, were it infinitely wide."""

import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OTHER_PROBE, OTHER_TASK, PROBE
from clntk.measures.drift import relative_change
from clntk.registry import register

_BLOCKS = (EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE)


def _at_first(error: xr.DataArray) -> xr.DataArray:
    """The first checkpoint: what is said of infinite width is said of initialisation."""
    return error.isel({CHECKPOINT: 0})


@register("measure", scalar=_at_first)
def infinite_kernel_error(kernels: xr.DataArray, infinite_kernels: xr.Dataset) -> xr.DataArray:
    """Distance of the tangent kernel from that of the same network at infinite width: ‖K_st − Θ_st‖_F/‖Θ_st‖_F.

    Block by block, of shape (checkpoint, eval_task, other_task); ≥ 0; NaN where a block of Θ is all zero. At
    initialisation it falls as 1/√width; Θ does not move in training, so that at later checkpoints what the kernel has
    moved by adds to it. The number per run is the mean over blocks at the first checkpoint.

    Args:
        kernels: K, summed over outputs.
        infinite_kernels: ``ntk``, Θ, likewise, without checkpoints; see :func:`clntk.runs.infinite.infinite_kernels`.

    Source: Jacot et al. 2018, arXiv 1806.07572, theorem 1, for the limit.
    """
    K = kernels.transpose(CHECKPOINT, *_BLOCKS)
    limit = infinite_kernels["ntk"].sel({axis: K[axis].values for axis in (EVAL_TASK, OTHER_TASK)})
    error = relative_change(K.values.astype(float, copy=False), limit.transpose(*_BLOCKS).values)
    like = K.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True)
    return like.copy(data=error).rename("infinite_kernel_error")
