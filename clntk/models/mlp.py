"""Fully-connected networks."""

import math
from collections import OrderedDict
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from clntk.errors import DataError
from clntk.registry import register
from clntk.shape import TaskShape

ACTIVATIONS: dict[str, tuple[type[nn.Module], float]] = {
    # with the gain that keeps the variance of a wide layer constant (He et al. 2015; LeCun et al. 1998)
    "relu": (nn.ReLU, math.sqrt(2.0)),
    "tanh": (nn.Tanh, 1.0),
    "identity": (nn.Identity, 1.0),
}


@register("model")
def mlp(
    shape: TaskShape,
    *,
    width: Annotated[int, Field(ge=1)] = 256,
    depth: Annotated[int, Field(ge=1)] = 2,
    activation: Literal["relu", "tanh", "identity"] = "relu",
    bias: bool = True,
    bias_init: float = 0.0,
    init_scale: float | list[float] = 1.0,
) -> nn.Module:
    """A fully-connected network: ``depth`` hidden layers of ``width`` units, then a linear read-out.

    Weights are drawn from N(0, (s·gain/√fan-in)²) with gain √2 for ReLU and 1 otherwise (1 for the read-out), and
    s the layer's ``init_scale``. Hidden layers are the modules ``hidden1``, ``hidden2``, …; their outputs are the
    hidden units.

    Args:
        shape: shape of the inputs and number of outputs.
        width: units in each hidden layer.
        depth: number of hidden layers.
        activation: nonlinearity of the hidden layers.
        bias: whether layers have biases.
        bias_init: the value all biases start from.
        init_scale: one factor for all layers, or one for each (depth + 1 of them, read-out last).

    Raises:
        DataError: if ``init_scale`` has another number of entries.

    Source: He et al. 2015, arXiv 1502.01852 (gain).
    """
    scales = [init_scale] * (depth + 1) if isinstance(init_scale, int | float) else list(init_scale)
    if len(scales) != depth + 1:
        raise DataError(
            f"model.init_scale: expected one factor or {depth + 1} (read-out last), found {len(scales)}"
        )
    act, gain = ACTIVATIONS[activation]
    fan_in = math.prod(shape.inputs)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if len(shape.inputs) > 1:
        layers["flatten"] = nn.Flatten()
    for index in range(depth):
        linear = _linear(
            fan_in, width, bias=bias, bias_init=bias_init, sd=scales[index] * gain / math.sqrt(fan_in)
        )
        layers[f"hidden{index + 1}"] = nn.Sequential(OrderedDict(linear=linear, activation=act()))
        fan_in = width
    layers["readout"] = _linear(
        fan_in, shape.outputs, bias=bias, bias_init=bias_init, sd=scales[-1] / math.sqrt(fan_in)
    )
    return nn.Sequential(layers)


@torch.no_grad()
def _linear(fan_in: int, fan_out: int, *, bias: bool, bias_init: float, sd: float) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out, bias=bias)
    layer.weight.normal_(0.0, sd)
    if bias:
        layer.bias.fill_(bias_init)
    return layer
