"""Small convolutional networks."""

from collections import OrderedDict
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from clntk.models.layers import ACTIVATIONS, Activation, Positive, drawn
from clntk.models.shapes import image_shape
from clntk.registry import register
from clntk.shape import TaskShape


@register("model")
def cnn(
    shape: TaskShape,
    *,
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (16, 32),
    kernel: Positive = 3,
    stride: Positive = 2,
    pooling: Literal["mean", "flatten"] = "mean",
    activation: Activation = "relu",
    bias: bool = True,
) -> nn.Module:
    """A small convolutional network for images: convolutions, pooling over positions, then a linear read-out.

    Convolutions are padded by half a kernel, so that a stride of 1 keeps the size of an odd kernel's image. Weights
    are drawn from N(0, gain²/fan-in), biases are zero. Hidden layers are ``hidden1``, ``hidden2``, …, with one unit a
    channel and position.

    Args:
        shape: shape of the inputs (channels, height, width) and number of outputs.
        channels: output channels of each convolution.
        kernel: side of the kernels in pixels.
        stride: of each convolution.
        pooling: before the read-out, the mean over positions, or none: all positions read out on their own.
        activation: nonlinearity of the hidden layers.
        bias: whether layers have biases.

    Raises:
        DataError: if the inputs are not images.

    Source: He et al. 2015, arXiv 1502.01852 (gain).
    """
    inputs, *size = image_shape(shape, "cnn")
    act, gain = ACTIVATIONS[activation]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, outputs in enumerate(channels, start=1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)
        layers[f"hidden{index}"] = nn.Sequential(OrderedDict(conv=drawn(conv, gain=gain), activation=act()))
        size = [(side + 2 * (kernel // 2) - kernel) // stride + 1 for side in size]
        inputs = outputs
    if pooling == "mean":
        layers["pool"], size = nn.AdaptiveAvgPool2d(1), [1, 1]
    layers["flatten"] = nn.Flatten()
    layers["readout"] = drawn(nn.Linear(inputs * size[0] * size[1], shape.outputs, bias=bias))
    return nn.Sequential(layers)
