"""The evidence on the founding claim: compressed codes, units of single tasks, protection from interference."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, INIT, LAYER
from clntk.measures.coding import coding
from clntk.measures.drift import kernel_distance
from clntk.measures.geometry import dimensionality
from clntk.measures.interference import between_tasks, cross_task_overlap
from clntk.measures.laziness import refuse_without_init
from clntk.measures.lesions import localism
from clntk.measures.performance import forgetting
from clntk.registry import register


@register("measure", answers=True)
def claim_evidence(
    activations: Mapping[str, xr.DataArray],
    lesions: Mapping[str, xr.Dataset],
    kernels: xr.DataArray,
    metrics: xr.Dataset,
) -> xr.Dataset:
    """Five numbers on the claim that networks learn compressed codes with units of single tasks, which protects.

    All of the end of training; in each, more speaks for the claim:

    - ``compression``: log₂(d₀/d), how often the dimension of a task's hidden activity (participation ratio, mean over
      tasks and layers) has halved since initialisation; negative where it has grown. Within tasks: that of all tasks
      together must rise when their codes come apart;
    - ``tuning``: the fraction of units tuned to exactly one task, beyond the permutation null, less that of the
      untrained network; in [−1, 1];
    - ``specificity``: damage in accuracy by lesions of the units tuned to a task, to that task less to the others, and
      less the same for random groups of equal size; in [−2, 2]; NaN where no task has tuned units;
    - ``separation``: 1 − o/o₀, how far the cross-task overlap of the tangent kernel (mean over pairs) has fallen;
    - ``retention``: −forgetting, mean over tasks; in [−1, 1], 0 where nothing is forgotten; NaN in a joint run.

    Compression and tuning are the code, the other three what it does. Unit counts alone do not show protection. Beside
    them ``movement``, the kernel's distance from initialisation (mean over tasks): which of several regimes is laziest.

    Raises:
        DataError: if ``"init"`` was not recorded, and as the measures it is made of.

    Source: the founding claim of this toolkit; see the measures ``dimensionality``, ``coding``, ``localism``,
    ``cross_task_overlap`` and ``forgetting``.
    """
    refuse_without_init(kernels, "claim_evidence, kernels")
    dimension = _ends(dimensionality(activations)["participation_ratio"].mean([LAYER, EVAL_TASK]))
    tuned = _ends(coding(activations)["one_task"].mean(LAYER))
    overlap = _ends(between_tasks(cross_task_overlap(kernels)))
    confined = localism(lesions).isel({CHECKPOINT: -1})
    lost = forgetting(metrics).isel({CHECKPOINT: -1}).mean(EVAL_TASK)
    return xr.Dataset(
        {
            "compression": np.log2(dimension[0] / dimension[1]),
            "tuning": tuned[1] - tuned[0],
            "specificity": float((confined["specificity"] - confined["null_specificity"]).mean()),
            "separation": _fall(*overlap),
            "retention": -float(lost),
            "movement": float(kernel_distance(kernels).isel({CHECKPOINT: -1}).mean()),
        }
    )


def _ends(values: xr.DataArray) -> tuple[float, float]:
    """Means at initialisation and at the last checkpoint."""
    first, last = values.sel({CHECKPOINT: INIT}), values.isel({CHECKPOINT: -1})
    return float(first.mean()), float(last.mean())


def _fall(first: float, last: float) -> float:
    return 1 - last / first if first > 0 else np.nan
