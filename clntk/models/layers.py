"""What several networks are made of: nonlinearities with their gains, and layers drawn to keep the variance."""

import math
from typing import Annotated, Literal, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

Positive = Annotated[int, Field(ge=1)]
Activation = Literal["relu", "tanh", "identity"]
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Identity(nn.LeakyReLU):
    """The identity, with slope 1 on both sides: a layer without nonlinearity still ends in a module of this kind.

    Capture takes the outputs of nonlinearities for the hidden units; ``nn.Identity`` is used for much else.
    """

    def __init__(self) -> None:
        super().__init__(negative_slope=1.0)


ACTIVATIONS: dict[str, tuple[type[nn.Module], float]] = {
    # with the gain that keeps the variance of a wide layer constant (He et al. 2015; LeCun et al. 1998)
    "relu": (nn.ReLU, math.sqrt(2.0)),
    "tanh": (nn.Tanh, 1.0),
    "identity": (Identity, 1.0),
}


def fan_in(layer: nn.Module) -> int:
    """The number of inputs of one unit of a linear layer or convolution."""
    return math.prod(cast(Tensor, layer.weight).shape[1:])


@torch.no_grad()
def drawn(layer: Layer, *, gain: float = 1.0, bias_init: float = 0.0) -> Layer:
    """The layer with weights from N(0, gain²/fan-in), by the global generator, and all biases at one value."""
    layer.weight.normal_(0.0, gain / math.sqrt(fan_in(layer)))
    if layer.bias is not None:
        layer.bias.fill_(bias_init)
    return layer
