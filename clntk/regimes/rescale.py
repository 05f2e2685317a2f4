"""Layers whose parameters enter the forward pass with a factor, while the function stays what it was."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from clntk.errors import DataError
from clntk.models.transformer import Positions

Map = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # exactly these: a subclass may use its weight otherwise
VECTORS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    Positions,
)  # of one parameter a feature, or one vector a token


@dataclass(frozen=True)
class Factors:
    """What multiplies a layer's weight, and its bias or other parameters, in the forward pass."""

    weight: float = 1.0
    bias: float = 1.0


class Rescaled(nn.Module):
    """y = b · layer((w/b) · x): the weight of a linear layer enters as w · weight, its bias as b · bias.

    The layer is torch's own, as it was, and θ are its parameters, divided by their factors at the start: kernels treat
    it by its rule, and what is differentiated, and trained, is θ. The factors are stored with the weights, as buffers:
    they may depend on the draw, and θ means nothing without them.
    """

    inner: Tensor
    outer: Tensor

    def __init__(self, layer: nn.Module, factors: Factors) -> None:
        super().__init__()
        self.layer = layer
        like = next(layer.parameters()).detach()
        self.register_buffer("inner", like.new_tensor(factors.weight / factors.bias))
        self.register_buffer("outer", like.new_tensor(factors.bias))
        with torch.no_grad():
            for name, parameter in layer.named_parameters(recurse=False):
                parameter.div_(factors.weight if name == "weight" else factors.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner * x if x.is_floating_point() else x  # an embedding's tokens are numbers of rows
        return self.outer * self.layer(x)


def parameter_layers(model: nn.Module, regime: str) -> tuple[list[Map], list[nn.Module]]:
    """The linear maps, in the order of the forward pass as registered, and the other modules that own parameters.

    Raises:
        DataError: for no linear map, a parameter that several modules share, or one in a module of another kind.
    """
    owned = [(name, m) for name, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    owners = Counter(id(p) for _, m in owned for p in m.parameters(recurse=False))
    for name, module in owned:
        parameter = next(n for n, _ in module.named_parameters(recurse=False))
        here = f"{name}.{parameter}".lstrip(".")
        if type(module) not in (*MAPS, *VECTORS):
            raise DataError(
                f"{regime}: expected parameters in linear and convolution layers, norms and embeddings, found {here} "
                f"in a {type(module).__name__}, which cannot be rescaled from outside; build it from such layers"
            )
        if any(owners[id(p)] > 1 for p in module.parameters(recurse=False)):
            raise DataError(
                f"{regime}: expected each parameter in one layer, found {here} in several; untie them"
            )
    maps = [cast(Map, m) for _, m in owned if type(m) in MAPS]
    if not maps:
        raise DataError(f"{regime}: expected a network with linear or convolution layers, found none")
    return maps, [m for _, m in owned if type(m) in VECTORS]


def rescaled(model: nn.Module, factors: Mapping[nn.Module, Factors]) -> nn.Module:
    """The network with the layers named in ``factors`` rescaled in place; it computes the same, to rounding."""
    wrapped = {layer: Rescaled(layer, given) for layer, given in factors.items()}
    if model in wrapped:
        return wrapped[model]
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in wrapped:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, wrapped[module])
    return model
