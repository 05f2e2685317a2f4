"""How alike the tasks of a stream are, from their data alone: the axis for questions about similarity."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from clntk.axes import EVAL_TASK, OTHER_TASK

if TYPE_CHECKING:
    import xarray as xr

    from clntk.streams.base import TaskStream

EXAMPLES = 1000  # of each task's training set, evenly spaced: enough for a subspace, and quick for large sets
VARIANCE = 0.9


def task_similarity(stream: "TaskStream") -> "xr.Dataset":
    """Overlap of labels and of inputs, and angles, between each two tasks of a stream as it is presented.

    All but ``input_dimension`` have the shape (eval_task, other_task) and are symmetric:

    - ``label_overlap``: Jaccard index of the sets of labels, that is of outputs, in [0, 1]; NaN for float targets.
    - ``input_overlap``: mean squared cosine of the principal angles between the subspaces of the centred inputs, in
      [0, 1]; 1 where one subspace holds the other, NaN where the inputs of a task do not vary.
    - ``mean_angle``: angle between the mean inputs in degrees, in [0, 180]; NaN where a mean is zero.
    - ``task_angle``: the angle that whoever made the stream set, in degrees; NaN where there is none.
    - ``input_dimension`` (eval_task,): dimensions k of a task's input subspace, the fewest principal components that
      hold 90 % of the variance.

    Inputs are the training sets', at most 1000 examples of each, evenly spaced.

    Source: principal angles: Björck & Golub 1973; the mean squared cosine is ‖U_sᵀU_t‖²_F / min(k_s, k_t).
    """
    import xarray as xr

    inputs = [_some(task.train.x) for task in stream.tasks]
    bases = [_basis(x) for x in inputs]
    means = [x.mean(dim=0) for x in inputs]
    labels = [set(task.train.y.tolist()) if stream.target == "class" else set() for task in stream.tasks]
    known = np.full([len(inputs)] * 2, np.nan) if stream.angles is None else np.asarray(stream.angles, float)
    pairs = {
        "label_overlap": _pairwise(labels, _jaccard),
        "input_overlap": _pairwise(bases, subspace_overlap),
        "mean_angle": _pairwise(means, _angle),
        "task_angle": known,
    }
    return xr.Dataset(
        {name: ((EVAL_TASK, OTHER_TASK), values) for name, values in pairs.items()}
        | {"input_dimension": (EVAL_TASK, [basis.shape[1] for basis in bases])},
        coords={EVAL_TASK: stream.task_names, OTHER_TASK: stream.task_names},
        attrs={"examples": EXAMPLES, "variance": VARIANCE},
    )


def subspace_overlap(first: Tensor, second: Tensor) -> float:
    """Mean squared cosine of the principal angles between two subspaces, given orthonormal columns."""
    k = min(first.shape[1], second.shape[1])
    return min((first.T @ second).square().sum().item() / k, 1.0) if k else float("nan")  # 1 but for rounding


def _some(x: Tensor) -> Tensor:
    """At most ``EXAMPLES`` evenly spaced examples, flat and in double precision."""
    index = torch.linspace(0, len(x) - 1, min(EXAMPLES, len(x))).round().long()
    return x[index].flatten(1).double()


def _basis(x: Tensor) -> Tensor:
    """Orthonormal columns that span the leading principal components of inputs (examples × features)."""
    _, singular, rows = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    held = singular.square().cumsum(dim=0)
    # relative to the inputs themselves, so that the rounding of equal inputs is no dimension
    if held[-1] <= torch.finfo(x.dtype).eps * x.square().sum():
        return x.new_zeros(x.shape[1], 0)
    k = int((held < VARIANCE * held[-1]).sum()) + 1
    return rows[:k].T


def _pairwise(items: list, relation: Callable[[Any, Any], float]) -> np.ndarray:
    """The relation of each two items, worked out once a pair: rounding must not make it asymmetric."""
    values = np.empty((len(items), len(items)))
    for s, first in enumerate(items):
        for t, second in enumerate(items[s:], start=s):
            values[s, t] = values[t, s] = relation(first, second)
    return values


def _jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a or b else float("nan")


def _angle(a: Tensor, b: Tensor) -> float:
    if not a.any() or not b.any():
        return float("nan")
    a, b = a / a.norm(), b / b.norm()
    return torch.rad2deg(
        2 * torch.atan2((a - b).norm(), (a + b).norm())
    ).item()  # exact at 0° and 180°, unlike acos
