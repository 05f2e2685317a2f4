"""First-order facts of networks whose weights are known: what gradients say of their outputs, losses and changes.

All of them in double precision and in eval mode, on copies: the networks are left as they were found.
"""

import copy
import math
from collections.abc import Callable, Mapping

import torch
import xarray as xr
from torch import Tensor, nn

from clntk.axes import EVAL_TASK, LAYER, OTHER_TASK, OUTPUT, PROBE
from clntk.capture.look import Look
from clntk.kernels.empirical import empirical_ntk
from clntk.kernels.operator import ntk_operator
from clntk.measures.laziness import layer_of
from clntk.models.linearize import linearize

TaskLoss = Callable[[Tensor], Tensor]  # from the outputs on a task's probes to the loss that is trained on
Inputs = Mapping[str, Tensor]

DIVERGED = 1e100  # outputs from here on predict nothing: a step was too large for the kernel
WRITTEN_OUT = (
    1500  # rows of a kernel up to which it is written out: beyond, products by its factors are faster
)
FOLLOWED = (EVAL_TASK, PROBE, OUTPUT)


def exact(network: nn.Module, inputs: Inputs) -> Look:
    """A look at a copy of the network in double precision and eval mode."""
    return Look(copy.deepcopy(network).double().eval(), {t: x.double() for t, x in inputs.items()}, {})


def outputs_of(look: Look) -> Tensor:
    """Logits on all probes of all tasks: (tasks · probes, outputs)."""
    return look.forward[0]


@torch.no_grad()
def first_order_change(look: Look, moved: Mapping[str, Tensor]) -> Tensor:
    """J(θ) Δθ: how outputs would change if the network were linear in its weights.

    Args:
        look: from :func:`exact`.
        moved: parameter name → Δθ; those left out do not move.

    Returns:
        shape (tasks · probes, outputs).
    """
    expansion = linearize(copy.deepcopy(look.model))
    for name, parameter in expansion.network.named_parameters():
        if name in moved:
            parameter.add_(moved[name])
    return expansion(look.stacked) - expansion.initial(look.stacked)


def moved_weights(before: nn.Module, after: nn.Module) -> dict[str, Tensor]:
    """θ_after − θ_before by parameter name, in float64."""
    start = dict(before.named_parameters())
    return {name: p.detach().double() - start[name].detach().double() for name, p in after.named_parameters()}


def loss_gradients(look: Look, losses: Mapping[str, TaskLoss]) -> dict[str, dict[str, Tensor]]:
    """∂L_t/∂θ of each task's loss on its own probes: task → parameter that is trained → gradient."""
    theta = {name: p for name, p in look.model.named_parameters() if p.requires_grad}
    found = {}
    for task, x in look.inputs.items():
        with torch.enable_grad():
            loss = losses[task](look.model(x))
            parts = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True, allow_unused=True)
        found[task] = dict(zip(theta, parts, strict=True))
    return found


def gradient_products(network: nn.Module, inputs: Inputs, losses: Mapping[str, TaskLoss]) -> xr.DataArray:
    """Dot products ⟨g_s, g_t⟩ of loss gradients on the probe sets, by layer: layer × eval_task × other_task.

    Args:
        network: at one checkpoint.
        inputs: task name → probe inputs, as the network takes them.
        losses: task name → loss of outputs on these probes.
    """
    found = loss_gradients(exact(network, inputs), losses)
    names: dict[str, list[str]] = {}
    for name in next(iter(found.values())):
        names.setdefault(layer_of(name), []).append(name)
    flat = {
        layer: torch.stack([torch.cat([g[name].flatten() for name in own]) for g in found.values()])
        for layer, own in names.items()
    }
    return xr.DataArray(
        torch.stack([g @ g.T for g in flat.values()]).detach().cpu().numpy(),
        dims=(LAYER, EVAL_TASK, OTHER_TASK),
        coords={LAYER: list(names), EVAL_TASK: list(inputs), OTHER_TASK: list(inputs)},
    )


def linearised_outputs(initial: nn.Module, network: nn.Module, inputs: Inputs) -> xr.Dataset:
    """Outputs of a network, of its expansion at initialisation for the same weights, and at initialisation.

    Args:
        initial: the network at initialisation.
        network: the network now.
        inputs: task name → probe inputs, as the network takes them.

    Returns:
        ``outputs``, ``linear`` and ``start``: eval_task × probe × output, with the attribute ``parameters``.
    """
    then, now = exact(initial, inputs), exact(network, inputs)
    start = outputs_of(then)
    linear = start + first_order_change(then, moved_weights(then.model, now.model))
    found = _labelled(now, {"outputs": outputs_of(now), "linear": linear, "start": start})
    return found.assign_attrs(parameters=sum(p.numel() for p in now.model.parameters()))


def output_change(
    before: nn.Module,
    after: nn.Module,
    inputs: Inputs,
    losses: Mapping[str, TaskLoss],
    rates: Mapping[str, float],
    steps: int,
) -> xr.Dataset:
    """How outputs changed between two checkpoints, and what first-order theory says of it at either end.

    Args:
        before: the network at the start of the interval.
        after: the network at its end.
        inputs: task name → probe inputs, as the network takes them.
        losses: task name → loss of outputs on these probes.
        rates: trained task → learning rate times the task's weight in the loss; NaN for no gradient descent.
        steps: optimizer steps in the interval.

    Returns:
        ``before`` (outputs at the start), ``actual`` (their change), ``tangent_start``, ``tangent_end`` (J Δθ), and
        ``kernel_start``, ``kernel_end`` (:func:`descent` under the kernel at either end): eval_task × probe × output.
    """
    start, end = exact(before, inputs), exact(after, inputs)
    moved = moved_weights(start.model, end.model)
    outputs = outputs_of(start)
    found = {"before": outputs, "actual": outputs_of(end) - outputs}
    for moment, look in (("start", start), ("end", end)):
        found[f"tangent_{moment}"] = first_order_change(look, moved)
        predicted = first_order_change(look, descent(look, outputs, losses, rates, steps))
        found[f"kernel_{moment}"] = predicted if predicted.abs().max() < DIVERGED else predicted * torch.nan
    return _labelled(start, found)


def descent(
    look: Look,
    outputs: Tensor,
    losses: Mapping[str, TaskLoss],
    rates: Mapping[str, float],
    steps: int,
    overlaps: Tensor | None = None,
) -> dict[str, Tensor]:
    """Where gradient descent on tasks' probes would take the weights, if the tangent kernel stayed as it is.

    Outputs follow f ← f − η K ∂L/∂f(f) step by step; the weights move by −Jᵀ Σ_steps η ∂L/∂f. Where steps keep away
    from orthonormal directions B, outputs do under K − (JBᵀ)(JBᵀ)ᵀ, and that part of the weights' move is still in it.

    Args:
        look: from :func:`exact`; its weights set J and K = JJᵀ.
        outputs: where outputs on the probes of all tasks begin.
        losses: task name → loss of outputs on its probes.
        rates: trained task → learning rate times the task's weight in the loss.
        steps: how many.
        overlaps: JBᵀ, of the probes of the trained tasks: (probes · outputs, directions); None for no directions.

    Returns:
        parameter that is trained → Δθ.
    """
    theta = {name: p for name, p in look.model.named_parameters() if p.requires_grad}
    if not rates:
        return {}
    if not all(math.isfinite(rate) for rate in rates.values()):
        return {name: torch.full_like(p, torch.nan) for name, p in theta.items()}
    x = torch.cat([look.inputs[task] for task in rates])
    begin = torch.cat([look.by_task(outputs)[look.tasks.index(task)] for task in rates])
    product = _kernel_product(look.model, x, begin.shape[1], overlaps)
    total = torch.zeros_like(begin)
    with torch.enable_grad():
        for _ in range(steps):
            f = (begin - product(total.flatten()).view_as(begin)).requires_grad_()
            each = zip(rates.items(), f.split(look.n_probes), strict=True)
            loss = sum((rate * losses[task](part) for (task, rate), part in each), f.new_zeros(()))
            total += torch.autograd.grad(loss, f)[0]
        parts = torch.autograd.grad(
            look.model(x), list(theta.values()), total, materialize_grads=True, allow_unused=True
        )
    return {name: -part for name, part in zip(theta, parts, strict=True)}


def _kernel_product(
    model: nn.Module, x: Tensor, outputs: int, overlaps: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """v ↦ K v, or K v − (JBᵀ)(JBᵀ)ᵀ v, on (examples · outputs) numbers."""
    if len(x) * outputs > WRITTEN_OUT:
        whole = ntk_operator(model, x).matvec
        return whole if overlaps is None else lambda v: whole(v) - overlaps @ (overlaps.T @ v)
    kernel = empirical_ntk(model, x, mode="full").detach().flatten(2).flatten(0, 1).contiguous()
    left = kernel if overlaps is None else kernel - overlaps @ overlaps.T
    return lambda v: left @ v


def _labelled(look: Look, values: Mapping[str, Tensor]) -> xr.Dataset:
    arrays = {name: (FOLLOWED, look.by_task(value).cpu().numpy()) for name, value in values.items()}
    return xr.Dataset(arrays, coords={EVAL_TASK: look.tasks})
