"""Gradients of logits, example by example."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from clntk.kernels.jacobian import by_autograd, by_vmap

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
    names = tuple(trained(network))
    differentiate = by_vmap if _vectorises(network, x, directions, names) else by_autograd
    for some, along in zip(x.split(CHUNK), directions.split(CHUNK), strict=True):
        yield differentiate(network, some, along, names)


def _vectorises(network: nn.Module, x: Tensor, directions: Tensor, names: tuple[str, ...]) -> bool:
    """Whether torch can differentiate this network for several examples at once; recurrent ones it cannot."""
    try:
        by_vmap(network, x[:1], directions[:1], names)
    except RuntimeError:
        return False
    return True


def flat(parameters: Sequence[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([p.reshape(-1) for p in parameters])


def unflat(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """One vector as tensors of the shapes of ``like``."""
    parts = vector.split([p.numel() for p in like])
    return [part.view_as(p) for part, p in zip(parts, like, strict=True)]
