"""Gradients of logits, example by example."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clntk.kernels.jacobian import by_autograd

CHUNK = 128  # examples differentiated at once


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def example_gradients(network: nn.Module, x: Tensor, directions: Tensor) -> Iterator[Tensor]:
    """∂⟨f(x_n), d_n⟩/∂θ over the trained parameters, a chunk of examples at a time.

    Args:
        network: the network, in the mode in which it is to be differentiated.
        x: N inputs.
        directions: (N, outputs), which sum of its logits is differentiated for each example.

    Yields:
        (chunk, parameters), in the order of the examples and of the network's parameters.
    """
    wanted = {name: p.detach() for name, p in trained(network).items()}
    fixed = {name: p.detach() for name, p in network.named_parameters() if name not in wanted}
    fixed |= dict(network.named_buffers())

    def logit(parameters: dict[str, Tensor], example: Tensor, direction: Tensor) -> Tensor:
        return functional_call(network, (parameters, fixed), (example[None],))[0] @ direction

    at_once = vmap(grad(logit), in_dims=(None, 0, 0))
    vectorised = _vectorises(at_once, wanted, x, directions)
    for some, along in zip(x.split(CHUNK), directions.split(CHUNK), strict=True):
        if vectorised:
            gradients = at_once(wanted, some, along)
            yield torch.cat([gradients[name].reshape(len(some), -1) for name in wanted], dim=1)
        else:
            rows = [by_autograd(network, some[n : n + 1], d, tuple(wanted)) for n, d in enumerate(along)]
            yield torch.cat(rows)


def _vectorises(at_once, wanted: dict[str, Tensor], x: Tensor, directions: Tensor) -> bool:
    """Whether torch can differentiate this network for several examples at once; recurrent ones it cannot."""
    try:
        at_once(wanted, x[:1], directions[:1])
    except RuntimeError:
        return False
    return True


def flat(parameters: list[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([p.reshape(-1) for p in parameters])


def unflat(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    """One vector as tensors of the shapes of ``like``."""
    parts = vector.split([p.numel() for p in like])
    return [part.view_as(p) for part, p in zip(parts, like, strict=True)]
