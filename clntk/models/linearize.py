"""The first-order expansion of a network around given weights, as a network to train."""

import warnings
from collections.abc import Mapping
from functools import cache
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from clntk.errors import DataError
from clntk.models.frozen import frozen_copy


class Linearized(nn.Module):
    """f_lin(x; θ) = f(x; θ₀) + ∇f(x; θ₀)(θ − θ₀), by a forward-mode product: no Jacobian is stored.

    θ are the parameters of ``network``, under their names there; θ₀ is kept as buffers. Both networks stay in eval
    mode, so that f is one function: no dropout, batch normalisation by its running statistics. What hooks on the
    modules of ``network`` see, hidden units above all, is the network at θ₀: linearised, its features do not move.
    """

    def __init__(self, network: nn.Module, at: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.network = network
        self.initial = frozen_copy(network)
        self.names = [
            name for name, _ in network.named_parameters()
        ]  # buffers, in a frozen copy of this module
        if at is not None:
            _put(self.initial, at, self.names)
        _ready()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        kept = dict(self.initial.named_buffers())
        start = {name: kept[name] for name in self.names}
        theta = dict(chain(self.network.named_parameters(), self.network.named_buffers()))
        moved = {name: theta[name] - start[name] for name in self.names}
        change = jvp(lambda at: functional_call(self.initial, at, (x,)), (start,), (moved,))[1]
        # a pass of its own, through the modules that hold θ: hooks then see plain tensors, and gradients with respect
        # to a layer's output, which at θ₀ are those of the expansion too, so that kernels know layers by their rules
        return functional_call(self.network, start, (x,)) + change

    def train(self, mode: bool = True) -> "Linearized":
        """Set the mode of this module alone; the networks inside always stay in eval mode."""
        super().train(mode)
        self.network.eval()
        self.initial.eval()
        return self


def linearize(model: nn.Module, at: Mapping[str, Tensor] | None = None) -> Linearized:
    """A network's first-order Taylor expansion in its parameters, which trains like any module.

    Args:
        model: the network; its own parameters become those of the expansion.
        at: parameter name → the weights θ₀ to expand around; by default the network's own, as they are now.

    Returns:
        The expansion; its values are the network's own where θ = θ₀.

    Raises:
        DataError: for names or shapes in ``at`` that are not those of the network's parameters.

    Source: Lee et al. 2019, arXiv 1902.06720, eq. (3).
    """
    return Linearized(model, at)


@cache
def _ready() -> None:
    """Torch's first forward-mode product loads decompositions of its own, and warns that it makes them by a script."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.zeros(1),))


@torch.no_grad()
def _put(frozen: nn.Module, at: Mapping[str, Tensor], names: list[str]) -> None:
    kept = dict(frozen.named_buffers())
    expected = {name: tuple(kept[name].shape) for name in names}
    found = {name: tuple(value.shape) for name, value in at.items()}
    if found != expected:
        off = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        raise DataError(
            f"linearize.at: expected the weights of all parameters, found {off[0]!r} of shape "
            f"{found.get(off[0], 'nothing')} where the network has {expected.get(off[0], 'none')}"
        )
    for name, value in at.items():
        kept[name].copy_(value)
