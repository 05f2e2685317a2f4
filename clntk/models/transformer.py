"""Small transformer encoders, built from linear layers: kernels and regimes then see each of their parts."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from clntk.errors import DataError
from clntk.models.layers import Positive, drawn
from clntk.registry import register
from clntk.shape import TaskShape


@register("model")
def transformer(
    shape: TaskShape,
    *,
    width: Positive = 32,
    depth: Positive = 2,
    heads: Positive = 4,
    expansion: Positive = 4,
    patch: Positive = 4,
) -> nn.Module:
    """A small transformer encoder for sequences or images cut into patches, read out from the mean over tokens.

    Blocks normalise before attention and before their two-layer network (pre-norm); positions are learnt. Weights are
    drawn from N(0, 1/fan-in), of the layers that end a residual branch 1/√(2 · depth) as large; biases are zero,
    positions from N(0, .02²). Hidden layers are ``block1``, ``block2``, …: the GELU units of each block's network, one
    a token and unit.

    Args:
        shape: shape of the inputs, (time, features) or (channels, height, width), and number of outputs.
        width: features of a token.
        depth: number of blocks.
        heads: attention heads; they divide the width.
        expansion: hidden units of a block's network, in widths.
        patch: side of an image's patches in pixels; it divides height and width. Sequences do not use it.

    Raises:
        DataError: for flat inputs, heads that do not divide the width, or patches that do not divide the image.

    Source: Vaswani et al. 2017, arXiv 1706.03762; Xiong et al. 2020, arXiv 2002.04745 (pre-norm); Dosovitskiy et al.
    2021, arXiv 2010.11929 (patches); Radford et al. 2019 (scale of residual branches).
    """
    if width % heads:
        raise DataError(f"model transformer: expected heads that divide the width {width}, found {heads}")
    tokens, features = _tokens(shape, patch)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if len(shape.inputs) == 3:
        layers["patches"] = Patches(patch)
    layers["embed"] = drawn(nn.Linear(features, width))
    layers["positions"] = Positions(tokens, width)
    for index in range(depth):
        layers[f"block{index + 1}"] = Block(width, heads, expansion, branches=2 * depth)
    layers |= {"norm": nn.LayerNorm(width), "mean": TokenMean()}
    layers["readout"] = drawn(nn.Linear(width, shape.outputs))
    return nn.Sequential(layers)


class Attention(nn.Module):
    """Multi-head self-attention, softmax(scale · Q Kᵀ) V; ``scale`` is 1/√(width of a head) unless a regime sets it."""

    def __init__(self, width: int, heads: int, *, out_gain: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query, self.key, self.value = (drawn(nn.Linear(width, width)) for _ in range(3))
        self.out = drawn(nn.Linear(width, width), gain=out_gain)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._by_head(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(self.scale * (q @ k.transpose(-2, -1)), dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, tokens, width) → (N, heads, tokens, width of a head)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm(x)), then x + network(norm(x))."""

    def __init__(self, width: int, heads: int, expansion: int, *, branches: int) -> None:
        super().__init__()
        gain = 1 / math.sqrt(branches)
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, out_gain=gain)
        self.norm2, self.expand = nn.LayerNorm(width), drawn(nn.Linear(width, expansion * width))
        self.activation = nn.GELU()
        self.contract = drawn(nn.Linear(expansion * width, width), gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.contract(self.activation(self.expand(self.norm2(x))))


class Positions(nn.Module):
    """x + a learnt vector for each token."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class Patches(nn.Module):
    """(N, channels, height, width) → (N, patches, channels · side²), row by row."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return functional.unfold(x, self.side, stride=self.side).transpose(1, 2)


class TokenMean(nn.Module):
    """(N, tokens, units) → (N, units)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


def _tokens(shape: TaskShape, patch: int) -> tuple[int, int]:
    """Number of tokens and features of each."""
    if len(shape.inputs) == 2:
        return shape.inputs
    if len(shape.inputs) != 3:
        raise DataError(
            "model transformer: expected sequences (time, features) or images (channels, height, width), found inputs "
            f"of shape {shape.inputs}: they have no tokens; take a stream of either, or mlp"
        )
    channels, height, width = shape.inputs
    if height % patch or width % patch:
        raise DataError(
            f"model.patch: expected a side that divides images of {height} × {width} pixels, found {patch}"
        )
    return (height // patch) * (width // patch), channels * patch**2
