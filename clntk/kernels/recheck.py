"""One gradient of a few examples, by the shares and by plain autograd: do they agree?"""

import random

import torch
from torch import Tensor, nn

from clntk.kernels.groups import Direct, Group

AGREED = {torch.float64: 1e-8, torch.float32: 1e-3}  # of a squared gradient norm
SAMPLE = 8  # examples of each use that are looked at


def doubtful(model: nn.Module, x: Tensor, found: dict[str, list[Group]], names: tuple[str, ...]) -> list[int]:
    """One or two examples on which autograd and the shares disagree, or none."""
    sample = random.Random(0).sample(range(len(x)), min(len(x), SAMPLE))
    if _agree(model, x, sample, found, names):
        return []
    off = [n for n in sample if not _agree(model, x, [n], found, names)]
    return (off or sample)[:2]


def _agree(
    model: nn.Module, x: Tensor, examples: list[int], found: dict[str, list[Group]], names: tuple[str, ...]
) -> bool:
    """Whether the gradient of one random sum of these examples' logits has the norm that the shares give it."""
    parameters = [model.get_parameter(name) for name in names]
    with torch.enable_grad():
        outputs = model(x[examples])
        weights = directions_of(len(examples), outputs.shape[1], x.device).to(outputs.dtype)
        total = (outputs * weights).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
    expected = sum((g.square().sum() for g in gradients if g is not None), weights.new_zeros(()))
    got = sum(_norm_along(group, examples, weights) for groups in found.values() for group in groups)
    return bool((got - expected).abs() <= AGREED[parameters[0].dtype] * expected)


def _norm_along(group: Group, examples: list[int], weights: Tensor) -> Tensor:
    """‖Σ_nc weights[n,c] J[c,n]‖² over some examples."""
    if isinstance(group, Direct):
        moved = torch.einsum("nc,cnp->p", weights, group.jacobian[:, examples])
    else:
        columns = weights[:, :, None, None].unbind(1)
        each = (w * g[examples] for w, g in zip(columns, group.grads, strict=True))
        grad = sum(each, weights.new_zeros(()))
        moved = grad.flatten(0, 1).T @ group.inputs[examples].flatten(0, 1)
    return moved.square().sum()


def directions_of(k: int, n_outputs: int, device: torch.device) -> Tensor:
    """Fixed random sums of the logits: what is wrong with one logit is wrong with them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(k, n_outputs, dtype=torch.float64, generator=generator).to(device)
