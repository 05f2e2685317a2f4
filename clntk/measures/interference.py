"""Interference: how much a step on one task moves the outputs of another.

To first order, one step of gradient descent on task t changes the outputs on task s by −η K_st ∂L_t/∂f(X_t), and the
loss by −η ⟨g_s, g_t⟩: the block K_st is the channel through which t can disturb s, and where it is zero, nothing is
forgotten; the gradients say what goes through it.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, OTHER_PROBE, OTHER_TASK, PROBE
from clntk.measures.summary import SameKind
from clntk.registry import register


def between_tasks(result: SameKind) -> SameKind:
    """Only pairs of different tasks: what a task has in common with itself is known, and would hide the rest."""
    return result.where(result[EVAL_TASK] != result[OTHER_TASK])


def square(table: xr.DataArray) -> xr.DataArray:
    """As in the rows, so in the columns: tasks paired by label, so that the diagonal is a task with itself."""
    return table.sel({OTHER_TASK: table[EVAL_TASK].values})


def relative_to_own(table: xr.DataArray) -> xr.DataArray:
    """x_st/√(x_ss x_tt), with the tasks as last two dimensions; NaN where a task's own x is zero."""
    table = square(table).transpose(..., EVAL_TASK, OTHER_TASK)
    values = table.values.astype(np.float64, copy=False)
    own = np.diagonal(values, axis1=-2, axis2=-1)
    # √(x·x) is x to the last bit in binary floating point, √x·√x is not
    scale = np.sqrt(own[..., :, None] * own[..., None, :])
    return table.copy(data=np.divide(values, scale, out=np.full(values.shape, np.nan), where=scale > 0))


@register("measure", scalar=between_tasks)
def cross_task_overlap(kernels: xr.DataArray) -> xr.DataArray:
    """Norm of the kernel between two tasks relative to those within them: ‖K_st‖_F/√(‖K_ss‖_F‖K_tt‖_F).

    Shape (checkpoint, eval_task, other_task); in [0, 1] for kernels of one network (the joint kernel is
    positive semi-definite, so Cauchy–Schwarz holds block by block), symmetric, exactly 1 on the diagonal.
    Zero if no tangent feature is shared. NaN for every pair with a task whose own block is all zero. The
    number per run is the mean over pairs of different tasks at the last checkpoint.
    """
    blocks = kernels.transpose(CHECKPOINT, EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE)
    norms = np.linalg.norm(blocks.values.astype(np.float64, copy=False), axis=(-2, -1))
    like = blocks.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True)
    return relative_to_own(like.copy(data=norms)).rename("cross_task_overlap")


def _products(gradients: xr.DataArray, per_layer: bool) -> xr.DataArray:
    order = (CHECKPOINT, LAYER, EVAL_TASK, OTHER_TASK)
    products = square(gradients).transpose(*order)
    return products if per_layer else products.sum(LAYER)


@register("measure", scalar=between_tasks)
def gradient_dot(gradients: xr.DataArray, *, per_layer: bool = False) -> xr.DataArray:
    """Dot product of two tasks' loss gradients: the rate at which a step on one lowers the loss of the other.

    A step of size η on task t changes the loss of task s by −η ⟨g_s, g_t⟩ to first order: negative products are
    interference, positive ones transfer. Shape (checkpoint, eval_task, other_task), symmetric, the squared norms of
    the gradients on the diagonal; in squared loss over squared weight. The number per run is the mean over pairs of
    different tasks at the last checkpoint.

    Args:
        gradients: dot products of loss gradients on the probe sets: checkpoint × layer × eval_task × other_task.
        per_layer: with a dimension ``layer``, each layer's share; the shares sum to the whole.

    Source: Lopez-Paz & Ranzato 2017, "Gradient episodic memory", section 3.
    """
    return _products(gradients, per_layer).rename("gradient_dot")


@register("measure", scalar=between_tasks)
def gradient_cosine(gradients: xr.DataArray, *, per_layer: bool = False) -> xr.DataArray:
    """Cosine of the angle between two tasks' loss gradients: ⟨g_s, g_t⟩/(‖g_s‖‖g_t‖).

    Shape (checkpoint, eval_task, other_task); in [−1, 1] but for rounding, symmetric, exactly 1 on the diagonal:
    negative where a step on one task raises the loss of the other. NaN for every pair with a task without gradient.
    The number per run is the mean over pairs of different tasks at the last checkpoint.

    Args:
        gradients: dot products of loss gradients on the probe sets: checkpoint × layer × eval_task × other_task.
        per_layer: with a dimension ``layer``, the cosine between each layer's parts of the gradients.

    Source: Riemer et al. 2019, "Learning to learn without forgetting", arXiv 1810.11910, eqs. (1) and (2) for its sign.
    """
    return relative_to_own(_products(gradients, per_layer)).rename("gradient_cosine")


def _overlap_between_tasks(result: xr.Dataset) -> xr.Dataset:
    """The shares sum to one over layers, so that their mean says nothing."""
    return between_tasks(result[["overlap"]])


@register("measure", scalar=_overlap_between_tasks)
def layer_interference(layer_kernels: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Each layer's share of the kernel between two tasks, and the overlap of the tasks within the layer.

    With K_st = Σ_l K_st^l over layers, each of shape (checkpoint, layer, eval_task, other_task):

    - ``share``: ⟨K_st^l, K_st⟩_F/‖K_st‖²_F; the shares of a pair sum to one; negative for a layer that works against
      the others, and in [0, 1] on the diagonal; NaN for a pair of tasks that share no tangent feature;
    - ``overlap``: ‖K_st^l‖_F/√(‖K_ss^l‖_F‖K_tt^l‖_F), :func:`cross_task_overlap` of the layer alone, in [0, 1].

    The number per run is the mean overlap over layers and pairs of different tasks at the last checkpoint.

    Args:
        layer_kernels: ``norm`` ‖K_st^l‖_F and ``projection`` ⟨K_st^l, K_st⟩_F: checkpoint × layer × eval_task ×
            other_task.
    """
    order = (CHECKPOINT, LAYER, EVAL_TASK, OTHER_TASK)
    projection = square(layer_kernels["projection"]).transpose(*order)
    share = (projection / projection.sum(LAYER)).transpose(*order)
    overlap = relative_to_own(layer_kernels["norm"].transpose(*order))
    return xr.Dataset({"share": share, "overlap": overlap})
