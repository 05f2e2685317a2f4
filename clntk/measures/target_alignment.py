"""Target alignment: whether a task's kernel groups its examples as their targets do."""

import numpy as np
import xarray as xr

from clntk.axes import EVAL_TASK, OTHER_PROBE, PROBE
from clntk.measures.drift import centred_alignment, cosine_distance, within_task
from clntk.measures.stimuli import TARGETS
from clntk.registry import register


def target_kernel(targets: xr.DataArray) -> xr.DataArray:
    """YYᵀ of every task's targets, of shape (eval_task, probe, other_probe) in float64.

    Labels count as one-hot, so that an entry is 1 for two examples of one class and 0 otherwise; float targets
    count as they are.
    """
    y = targets.transpose(EVAL_TASK, PROBE, ...).values
    y = y.reshape(*y.shape[:2], -1)
    if y.dtype.kind == "f":
        values = y.astype(np.float64) @ y.astype(np.float64).swapaxes(-1, -2)
    else:
        values = (y[:, :, None] == y[:, None]).all(axis=-1).astype(np.float64)
    return xr.DataArray(
        values, dims=(EVAL_TASK, PROBE, OTHER_PROBE), coords={EVAL_TASK: targets[EVAL_TASK].values}
    )


@register("measure")
def target_alignment(kernels: xr.DataArray, probes: xr.Dataset) -> xr.Dataset:
    """Alignment A(K, YYᵀ) of every task's kernel with its targets, as they are and centred.

    With A(K, K') = ⟨K,K'⟩_F/(‖K‖_F‖K'‖_F), each of shape (checkpoint, eval_task):

    - ``uncentred``: A(K, YYᵀ), in [−1, 1], and ≥ 0 for positive semi-definite kernels. What all entries of both have
      in common counts: a constant kernel has the alignment √Σ_c p_c² with classes of shares p_c, not zero;
    - ``centred``: A(HKH, HYYᵀH) with H = I − 11ᵀ/N, in [0, 1] for positive semi-definite kernels; 0 where kernel and
      targets vary along different directions, 1 where K is YYᵀ but for scale and shifts.

    Labels count as one-hot, float targets as they are. NaN for a block that is all zero, and where centring leaves
    nothing, as of targets that are all alike.

    Args:
        kernels: the recorded kernel blocks.
        probes: the probe sets, with ``targets`` of eval_task × probe.

    Source: Cristianini et al. 2001, "On kernel-target alignment"; centred: Cortes et al. 2012, "Algorithms for
    learning kernels based on centered alignment".
    """
    blocks = within_task(kernels)
    wanted = target_kernel(probes[TARGETS]).sel({EVAL_TASK: blocks[EVAL_TASK].values}).values
    like = blocks.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True)
    return xr.Dataset(
        {
            "uncentred": like.copy(data=1.0 - cosine_distance(blocks.values, wanted)),
            "centred": like.copy(data=centred_alignment(blocks.values, wanted)),
        }
    )
