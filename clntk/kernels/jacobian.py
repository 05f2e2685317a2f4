"""Jacobians of single parameters, example by example: the slow ways that are always right."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

CHUNK = 256  # examples differentiated at once


def by_autograd(model: nn.Module, x: Tensor, direction: Tensor, names: Sequence[str]) -> Tensor:
    """∂⟨f(x_n), direction⟩/∂(named parameters), one backward pass an example.

    Args:
        model: the network.
        x: N inputs.
        direction: (C), which sum of the logits, or (N, C), one for each example.
        names: of the parameters.

    Returns:
        (N, parameters), in the order of the names.
    """
    parameters = [model.get_parameter(name) for name in names]
    rows = []
    gradients: Sequence[Tensor | None]
    with torch.enable_grad():
        for n, along in enumerate(direction.expand(len(x), -1)):
            logit = model(x[n : n + 1])[0] @ along
            if logit.requires_grad:
                gradients = torch.autograd.grad(logit, parameters, allow_unused=True)
            else:
                gradients = [None] * len(parameters)
            pairs = zip(gradients, parameters, strict=True)
            rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]))
    return torch.stack(rows).detach()


def by_vmap(model: nn.Module, x: Tensor, direction: Tensor, names: Sequence[str]) -> Tensor:
    """The same, vectorised over examples; raises whatever torch raises for models that it cannot vectorise."""
    wanted = {name: model.get_parameter(name).detach() for name in names}
    fixed = {name: p.detach() for name, p in model.named_parameters() if name not in wanted}
    fixed |= dict(model.named_buffers())

    def logit(parameters: dict[str, Tensor], example: Tensor, along: Tensor) -> Tensor:
        return functional_call(model, (parameters, fixed), (example[None],))[0] @ along

    differentiate = vmap(grad(logit), in_dims=(None, 0, 0), chunk_size=CHUNK)
    gradients = differentiate(wanted, x, direction.expand(len(x), -1))
    return torch.cat([gradients[name].reshape(len(x), -1) for name in names], dim=1)
