"""Localist or distributed: how a hidden layer shares its units out among tasks.

Of what units do, not of what they are needed for: that is for lesions to say (:mod:`clntk.measures.lesions`).
"""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, OTHER_TASK, UNIT
from clntk.measures.bimodality import dip_test
from clntk.measures.interference import between_tasks
from clntk.measures.population import Columns, by_layer
from clntk.measures.tuning import unit_tuning
from clntk.registry import register

HALF = 0.5  # of a unit's largest response: what still counts as a response

Activations = Mapping[str, xr.DataArray]


def breadth(mean: np.ndarray) -> np.ndarray:
    """The number of tasks that evoke at least half of a unit's largest mean response; 0 for a dead unit.

    Args:
        mean: rectified activation averaged over the examples of a task, shape (task, unit), ≥ 0.
    """
    top = mean.max(axis=0)
    return ((mean >= HALF * top) & (top > 0)).sum(axis=0)


def top_units(mean: np.ndarray, share: float) -> np.ndarray:
    """Which units respond most to a task, shape (task, unit): as many as ``share`` says, rounded, and at least one.

    Units that respond as much as the last of them are in, and those that do not respond are out.

    Args:
        mean: rectified activation averaged over the examples of a task, shape (task, unit), ≥ 0.
        share: of all units, in (0, 1].
    """
    k = max(1, round(share * mean.shape[1]))
    last = np.partition(mean, -k, axis=1)[:, -k, None]
    return (mean >= last) & (mean > 0)


def jaccard(members: np.ndarray) -> np.ndarray:
    """|A ∩ B|/|A ∪ B| of each two sets, shape (set, set); NaN for two empty ones.

    Args:
        members: shape (set, element), of booleans.
    """
    counts = members.astype(np.int64)
    shared = counts @ counts.T
    sizes = counts.sum(axis=1)
    union = sizes[:, None] + sizes - shared
    return np.divide(shared, union, out=np.full(union.shape, np.nan), where=union > 0)


def jaccard_by_chance(sizes: np.ndarray, n: int) -> np.ndarray:
    """The expected Jaccard overlap of random sets of these sizes among ``n`` elements, shape (set, set).

    NaN where both are empty. What is shared by two of them is hypergeometric.
    """
    from scipy.stats import hypergeom

    expected = np.full((len(sizes), len(sizes)), np.nan)
    for s, t in np.ndindex(expected.shape):
        if sizes[s] + sizes[t] > 0:
            shared = np.arange(int(min(sizes[s], sizes[t])) + 1)
            overlap = shared / (sizes[s] + sizes[t] - shared)
            expected[s, t] = overlap @ hypergeom(n, sizes[s], sizes[t]).pmf(shared)
    return expected


def _response(values: np.ndarray) -> np.ndarray:
    """Mean rectified activation: (task, probe, unit) → (task, unit)."""
    return np.maximum(values, 0.0).mean(axis=1)


@register("measure")
def coding(
    activations: Activations,
    *,
    null: Annotated[int, Field(ge=1)] = 1000,
    fdr: Annotated[float, Field(gt=0, lt=1)] = 0.05,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> xr.Dataset:
    """How many units of a hidden layer are tuned to exactly one task, and whether selectivity has two modes.

    Of each layer at each checkpoint (checkpoint, layer):

    - ``one_task``: fraction of the units that are called tuned and respond with at least half their largest mean to one
      task alone (a selectivity above chance may be shared by several tasks);
    - ``tuned``, ``task_only``, ``dead``: fractions as of :func:`~clntk.measures.tuning.unit_tuning`, called tuned at
      all, active in one task alone, and in none;
    - ``breadth``: mean number of tasks that evoke at least half of a unit's largest mean, over units that are not dead;
    - ``dip``, ``dip_p``: the dip test of unimodality of their selectivities; see
      :func:`clntk.measures.bimodality.dip_test`. A small p says that the layer falls into units of two sorts; p is NaN
      for fewer than four.

    All on the rectified code. NaN where all units are dead, but for fractions. The numbers per run are means over
    layers, at the last checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        null: permutations of the task labels, and samples of the null of the dip.
        fdr: the false-discovery rate at which units are called tuned.
        seed: of both.

    Raises:
        DataError: if there are no layers, fewer than two tasks, or activations that are not finite.

    Source: Hartigan & Hartigan 1985 (dip); exact-zero classes of Flesch et al. 2022.
    """

    def responses(values: np.ndarray) -> Columns:
        return {"breadth": ((UNIT,), breadth(_response(values)))}

    tuning = unit_tuning(activations, null=null, fdr=fdr, seed=seed)
    rows = []
    for name, layer in activations.items():
        units = tuning.isel({UNIT: tuning[LAYER].values == name})
        tasks = by_layer({name: layer}, responses)["breadth"].isel({LAYER: 0}, drop=True)
        live = ~units["dead"]
        tests = [
            dip_test(row[~np.isnan(row)], draws=null, seed=seed)
            for row in units["selectivity"].transpose(CHECKPOINT, UNIT).values
        ]
        found = {
            "one_task": (units["tuned"] & (tasks == 1)).mean(UNIT),
            **{kind: units[kind].mean(UNIT) for kind in ("tuned", "task_only", "dead")},
            "breadth": tasks.where(live).mean(UNIT),
            "dip": (CHECKPOINT, [test[0] for test in tests]),
            "dip_p": (CHECKPOINT, [test[1] for test in tests]),
        }
        rows.append(xr.Dataset(found).expand_dims({LAYER: [name]}, axis=1))
    return xr.concat(rows, dim=LAYER, coords="minimal", compat="override")


@register("measure", scalar=between_tasks)
def top_unit_overlap(
    activations: Activations, *, share: Annotated[float, Field(gt=0, le=1)] = 0.1
) -> xr.Dataset:
    """Jaccard overlap of the units that respond most to each of two tasks.

    ``overlap`` (checkpoint, layer, eval_task, other_task) is |A ∩ B|/|A ∪ B| of the two tasks' top units, by their mean
    rectified activation: in [0, 1], 1 if they are the same. Units as active as the last of them are in, and silent ones
    out, so that sets may be larger or smaller. ``by_chance`` is what random sets of their sizes would share on average.
    NaN where no unit responds to either. The numbers per run are the means over pairs of different tasks at the last
    checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        share: of a layer's units that are a task's top ones, rounded, and at least one unit.

    Raises:
        DataError: if there are no layers, or activations that are not finite.
    """
    tasks = next(iter(activations.values()))[EVAL_TASK].values if activations else np.empty(0)

    def measured(values: np.ndarray) -> Columns:
        top = top_units(_response(values), share)
        chance = jaccard_by_chance(top.sum(axis=1), top.shape[1])
        pair = (EVAL_TASK, OTHER_TASK)
        return {"overlap": (pair, jaccard(top)), "by_chance": (pair, chance)}

    return by_layer(activations, measured, {OTHER_TASK: tasks})
