"""What the probe sets show: the rule by which each task judges a stimulus, read off the stored inputs and targets."""

import numpy as np
import xarray as xr

from clntk.axes import EVAL_TASK, PROBE

INPUTS, TARGETS = "inputs", "targets"


def target_levels(probes: xr.Dataset) -> np.ndarray:
    """Integers that tell apart the targets of all probes, of shape (eval_task, probe): classes, or values."""
    targets = _flat(probes[TARGETS])
    rows = targets.reshape(-1, targets.shape[-1])
    levels = np.unique(rows, axis=0, return_inverse=True)[1]
    return levels.reshape(targets.shape[:2])


def shared_stimuli(probes: xr.Dataset) -> bool:
    """Whether the p-th probes of all tasks are one stimulus, but for inputs that tell the task.

    An input that is constant within every task is a cue; every other one has to be the same in all tasks.
    """
    inputs = _flat(probes[INPUTS])
    cue = (inputs == inputs[:, :1]).all(axis=(0, 1))
    stimulus = inputs[..., ~cue]
    return bool(len(inputs) > 1 and stimulus.size and (stimulus == stimulus[:1]).all())


def deciding_features(probes: xr.Dataset) -> np.ndarray | None:
    """The feature of a stimulus that decides in each task, of shape (probe, eval_task), if the probe sets tell.

    Where all tasks judge the same stimuli by a float target, a task's target *is* the feature that decides in it, and
    the other tasks' targets are what it has to ignore. In ``context_blobs`` these are column − 2 and row − 2 of the
    stimulus. None for other streams: for class labels, for stimuli that differ between tasks, and for targets of
    which more than one column varies within a task.
    """
    targets = _flat(probes[TARGETS])
    if probes[TARGETS].dtype.kind != "f" or not shared_stimuli(probes):
        return None
    varies = (targets != targets[:, :1]).any(axis=1)  # eval_task, target
    if (varies.sum(axis=1) != 1).any():
        return None
    return np.stack([task[:, column] for task, column in zip(targets, varies.argmax(axis=1), strict=True)], 1)


def _flat(values: xr.DataArray) -> np.ndarray:
    """Shape (eval_task, probe, all other dimensions)."""
    array = values.transpose(EVAL_TASK, PROBE, ...).values
    return array.reshape(*array.shape[:2], -1)
