"""Unit tuning of recorded runs: the hidden layers of a network at its checkpoints."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, OTHER_TASK, PROBE, UNIT
from clntk.errors import DataError
from clntk.measures.tuning.design import Design, PerUnit
from clntk.measures.tuning.indices import indices
from clntk.measures.tuning.inputs import refuse_non_finite, refuse_one_task
from clntk.measures.tuning.null import called, permutation_null
from clntk.measures.tuning.plain import DIMENSIONS, labelled
from clntk.measures.tuning.variance import task_variances
from clntk.registry import register

Activations = Mapping[str, xr.DataArray]


def _coding(tuning: xr.Dataset) -> xr.Dataset:
    """The indices that have a meaning on average over units."""
    names = ["selectivity", "task_only", "mixed", "dead", "mutual_information", "lifetime_sparseness"]
    # without a null there is no fraction of tuned units, rather than a fraction of 0
    names += ["selectivity_corrected", "tuned"] if tuning.attrs["null"] else []
    live_only = tuning["mutual_information"].where(~tuning["dead"])  # the others are NaN for dead units
    return tuning[names].assign(mutual_information=live_only)


@register("measure", scalar=_coding)
def unit_tuning(
    activations: Activations,
    *,
    null: Annotated[int, Field(ge=0)] = 1000,
    fdr: Annotated[float, Field(gt=0, lt=1)] = 0.05,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> xr.Dataset:
    """Unit task-tuning indices of all hidden layers at every checkpoint.

    The variables of :func:`~clntk.task_tuning`, with dimensions (checkpoint, unit), and eval_task for
    ``mean_activation``; task variances are a measure of their own, :func:`task_variance`. The units of all
    layers follow each other along ``unit``, with their layer in the coordinate ``layer``. Probes are taken as
    stimuli of their own, shown once. The null is computed at every checkpoint, so that the untrained network
    is a control; units are called tuned among those of their layer and checkpoint.

    The numbers per run are, at the last checkpoint, the means over the units that are not dead of selectivity,
    mutual information, lifetime sparseness and corrected selectivity, and the fractions of all units that are
    task-only, mixed, dead and tuned; without a null, not the corrected selectivity and the fraction tuned.

    Args:
        activations: layer → (checkpoint, eval_task, probe, unit).
        null: how many permutations of the task labels of the probes, the same ones everywhere; 0 for none.
        fdr: the false-discovery rate at which units are called tuned.
        seed: of the permutations.

    Raises:
        DataError: if there are no layers, fewer than two tasks, or activations that are not finite.

    Source: Morcos et al. 2018, "On the importance of single directions for generalization", and those of the other
    indices: :func:`~clntk.task_tuning`.
    """
    columns, design, coords = _columns(activations)
    found = labelled(design.for_units(lambda arranged: indices(arranged, design), columns), design)
    found |= permutation_null(columns, design, null=null, seed=seed)
    p = found["p"].reshape(-1, coords[UNIT].size)
    found["tuned"] = _called_by_layer(p, coords[LAYER].values, fdr).ravel()
    return _dataset(found, coords).assign_attrs(null=null, fdr=fdr, seed=seed)


def _called_by_layer(p: np.ndarray, layer: np.ndarray, fdr: float) -> np.ndarray:
    """Which units are tuned, from p of shape (checkpoint, unit) and each unit's layer."""
    tuned = np.zeros(p.shape, dtype=bool)
    for name in dict.fromkeys(layer):
        for row, values in zip(tuned, p, strict=True):
            row[layer == name] = called(values[layer == name], fdr)
    return tuned


def _specialisation(variances: xr.Dataset) -> xr.Dataset:
    """The absolute fractional task variance of pairs of different tasks: 0 if equal, 1 if only one varies."""
    fractional = variances["fractional_task_variance"]
    return abs(fractional.where(fractional[EVAL_TASK] != fractional[OTHER_TASK])).to_dataset()


@register("measure", scalar=_specialisation)
def task_variance(activations: Activations) -> xr.Dataset:
    """Task variance of every hidden unit, and fractional task variance for pairs of tasks, at every checkpoint.

    The variables ``task_variance`` (checkpoint, unit, eval_task) and ``fractional_task_variance`` (checkpoint,
    unit, eval_task, other_task) of :func:`~clntk.task_tuning`, over the probes of a task. The number per run is
    the mean absolute fractional task variance of pairs of different tasks at the last checkpoint, in [0, 1]: 0
    if units vary as much in one task as in another, 1 if in one only.

    Raises:
        DataError: if there are no layers, fewer than two tasks, or activations that are not finite.

    Source: Yang et al. 2019, "Task representations in neural networks trained to perform many cognitive
    tasks".
    """
    columns, design, coords = _columns(activations)
    return _dataset(design.for_units(lambda arranged: task_variances(arranged, design), columns), coords)


def _columns(activations: Activations) -> tuple[np.ndarray, Design, xr.Coordinates]:
    """All units at all checkpoints beside each other: (examples, checkpoint × unit), their design, the labels."""
    if not activations:
        raise DataError(
            "activations: expected at least one layer, found none; record activations of hidden layers"
        )
    layers = {
        name: layer.transpose(EVAL_TASK, PROBE, CHECKPOINT, UNIT) for name, layer in activations.items()
    }
    first = next(iter(layers.values()))
    tasks = [str(label) for label in first[EVAL_TASK].values]
    refuse_one_task(len(tasks), "activations")
    for name, layer in layers.items():
        refuse_non_finite(layer.values, f"activations of layer {name!r}")
    stacked = np.concatenate([layer.values for layer in layers.values()], axis=-1)
    design = Design.without_stimuli(tasks, np.repeat(np.arange(len(tasks)), first.sizes[PROBE]))
    sizes = [layer.sizes[UNIT] for layer in layers.values()]
    coords = first[CHECKPOINT].coords.assign(
        {
            UNIT: np.arange(sum(sizes)),
            LAYER: (UNIT, np.repeat(list(layers), sizes)),
            EVAL_TASK: tasks,
            OTHER_TASK: tasks,
        }
    )
    return stacked.reshape(len(design.task), -1), design, coords


def _dataset(found: PerUnit, coords: xr.Coordinates) -> xr.Dataset:
    """The values of all columns by checkpoint and unit."""
    shape = (coords[CHECKPOINT].size, coords[UNIT].size)
    variables = {
        name: ((CHECKPOINT, UNIT, *DIMENSIONS.get(name, ())), array.reshape(*shape, *array.shape[1:]))
        for name, array in found.items()
    }
    dataset = xr.Dataset(variables)
    return dataset.assign_coords(
        {name: coords[name] for name in coords if set(coords[name].dims) <= set(dataset.dims)}
    )
