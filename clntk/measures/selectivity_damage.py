"""Do units that are selective for a task matter more than others?"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, UNIT
from clntk.measures.lesions import Lesions, Of, damage_of
from clntk.measures.tuning import unit_tuning
from clntk.registry import register


@register("measure")
def selectivity_damage(
    lesions: Lesions, activations: Mapping[str, xr.DataArray], *, of: Of = "loss"
) -> xr.DataArray:
    """Rank correlation, over live units, of task selectivity with the damage that silencing the unit does.

    Spearman's ρ of shape (checkpoint,), in [−1, 1]: selectivity is the task-selectivity index of
    :func:`clntk.task_tuning`, damage the mean over tasks. About 0 where selective units matter no more than others; NaN
    where all units do the same damage, or are as selective.

    Args:
        lesions: see :func:`clntk.runs.lesions.lesions`.
        activations: layer → checkpoint × eval_task × probe × unit.
        of: what is damaged: ``loss``, or ``accuracy``, of which one unit among many costs little.

    Raises:
        DataError: for an option that is neither.

    Source: Morcos et al. 2018, arXiv 1803.06959 (selectivity and the impact of ablations).
    """
    facts = lesions["units"]
    damage = damage_of(facts, of).mean(EVAL_TASK).transpose(CHECKPOINT, UNIT)
    tuning = unit_tuning(activations, null=0)
    found = [
        spearman(chosen.values[~dead], cost.values[~dead])
        for chosen, cost, dead in zip(tuning["selectivity"], damage, tuning["dead"].values, strict=True)
    ]
    return damage.isel({UNIT: 0}, drop=True).copy(data=found).rename("selectivity_damage")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of the pairs that are both known; NaN where either does not vary."""
    from scipy.stats import rankdata

    known = np.isfinite(x) & np.isfinite(y)
    ranks = [rankdata(values[known]) for values in (x, y)]
    if known.sum() < 3 or any(np.ptp(values) == 0 for values in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
