"""Whether tasks are told apart: accuracy where they ask for the same answer, and where they ask for different ones."""

import xarray as xr

from clntk.registry import register

LESION, CONGRUENCE = "lesion", "congruence"
LESIONS = ("intact", "task_only")
CONGRUENT = ("congruent", "incongruent")


@register("measure")
def congruence_accuracy(congruence: xr.Dataset) -> xr.DataArray:
    """Accuracy on stimuli that tasks answer alike or differently, with and without task-only units.

    Shape (checkpoint, lesion, congruence); in [0, 1]. ``intact`` is the network as it is; ``task_only`` is without the
    units that are active in one task alone, of all tasks together. A network that cannot tell the tasks apart still
    answers congruent stimuli, and is at chance on the others. The number per run is the mean of all four at the last
    checkpoint: ask for one of them by its labels.

    Args:
        congruence: see :func:`clntk.runs.congruence.congruence`.

    Source: Flesch et al. 2022, Neuron 110:1258 (lesions of task-selective units).
    """
    return congruence["accuracy"].rename("congruence_accuracy")
