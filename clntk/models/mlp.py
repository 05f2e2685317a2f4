"""Fully-connected networks."""

import math
from collections import OrderedDict

from torch import nn

from clntk.errors import DataError
from clntk.models.layers import ACTIVATIONS, Activation, Positive, drawn
from clntk.registry import register
from clntk.shape import TaskShape


@register("model")
def mlp(
    shape: TaskShape,
    *,
    width: Positive = 256,
    depth: Positive = 2,
    activation: Activation = "relu",
    bias: bool = True,
    bias_init: float = 0.0,
    train_hidden_bias: bool = True,
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
        train_hidden_bias: whether those of hidden layers are trained; else they stay there.
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
    units = math.prod(shape.inputs)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if len(shape.inputs) > 1:
        layers["flatten"] = nn.Flatten()
    for index in range(depth):
        linear = drawn(nn.Linear(units, width, bias=bias), gain=scales[index] * gain, bias_init=bias_init)
        if bias:
            linear.bias.requires_grad_(train_hidden_bias)
        layers[f"hidden{index + 1}"] = nn.Sequential(OrderedDict(linear=linear, activation=act()))
        units = width
    readout = nn.Linear(units, shape.outputs, bias=bias)
    layers["readout"] = drawn(readout, gain=scales[-1], bias_init=bias_init)
    return nn.Sequential(layers)
