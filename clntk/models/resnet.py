"""Residual networks."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import nn

from clntk.models.layers import Positive, drawn
from clntk.models.shapes import image_shape
from clntk.registry import register
from clntk.shape import TaskShape

GROUPS = 8  # at most; fewer where they do not divide the channels


@register("model")
def resnet(
    shape: TaskShape,
    *,
    width: Positive = 16,
    blocks: Positive = 1,
    stages: Positive = 3,
    norm: Literal["batch", "group", "none"] = "batch",
) -> nn.Module:
    """A residual network for small images: a stem, stages of basic blocks, the mean over positions, and a read-out.

    Each stage after the first halves the image and doubles the channels. With 3 stages of n blocks it is the CIFAR
    ResNet of depth 6n + 2 (``blocks=3, width=16`` is ResNet-20); ``stages=4, blocks=2, width=64`` is ResNet-18 with a
    3 × 3 stem. Convolutions have no bias and are drawn from N(0, 2/fan-in). Without normalisation, the last convolution
    of each of the L blocks starts 1/√L as large, which keeps activations and gradients bounded in depth. Hidden layers
    are ``stem`` and ``block1#1``, ``block1#2``, …: within the first block, after its sum.

    Args:
        shape: shape of the inputs (channels, height, width) and number of outputs.
        width: channels of the first stage.
        blocks: blocks in each stage.
        stages: number of stages.
        norm: batch normalisation (kernels use its running statistics), group normalisation in up to 8 groups, or none.

    Raises:
        DataError: if the inputs are not images.

    Source: He et al. 2016, arXiv 1512.03385, section 4.2; torchvision's ``BasicBlock``; Wu & He 2018, arXiv 1803.08494
    (groups); Zhang et al. 2019, arXiv 1901.09321 and Hayou et al. 2021, arXiv 2010.12859 (scale without normalisation).
    """
    channels, *_ = image_shape(shape, "resnet")
    make_norm = _norm(norm)
    stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem, make_norm(width), nn.ReLU()))
    inputs = width
    for index in range(stages * blocks):
        stage, place = divmod(index, blocks)
        outputs, stride = width * 2**stage, 2 if stage > 0 and place == 0 else 1
        layers[f"block{index + 1}"] = _block(inputs, outputs, stride, make_norm)
        inputs = outputs
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    for module in nn.Sequential(layers).modules():
        if isinstance(module, nn.Conv2d):
            drawn(module, gain=math.sqrt(2.0))
    if norm == "none":
        with torch.no_grad():
            for index in range(stages * blocks):
                last = cast(nn.Conv2d, layers[f"block{index + 1}"].conv2)
                last.weight.div_(math.sqrt(stages * blocks))
    layers["readout"] = drawn(nn.Linear(inputs, shape.outputs))
    return nn.Sequential(layers)


def _norm(norm: str) -> Callable[[int], nn.Module]:
    """What makes the normalisation of a number of channels."""
    if norm == "group":
        return lambda channels: nn.GroupNorm(math.gcd(GROUPS, channels), channels)
    return {"batch": nn.BatchNorm2d, "none": nn.Identity}[norm]


def _block(inputs: int, outputs: int, stride: int, make_norm: Callable[[int], nn.Module]) -> nn.Module:
    from torchvision.models.resnet import BasicBlock, conv1x1

    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), make_norm(outputs))
    block = BasicBlock(inputs, outputs, stride, shortcut, norm_layer=make_norm)
    block.relu = nn.ReLU()  # not in place: what was captured stays what it was
    return block
