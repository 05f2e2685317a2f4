"""Deep linear networks: a linear map learnt by nonlinear dynamics."""

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from clntk.models.layers import Identity, Positive, drawn
from clntk.registry import register
from clntk.shape import TaskShape


@register("model")
def deep_linear(
    shape: TaskShape,
    *,
    width: Positive = 64,
    depth: Positive = 2,
    init: Literal["normal", "balanced"] = "normal",
    init_scale: Annotated[float, Field(gt=0)] = 1.0,
) -> nn.Module:
    """A deep linear network: ``depth`` hidden layers without nonlinearity or bias, then a read-out.

    ``normal`` draws the weights of each layer from N(0, (s/√fan-in)²); a small s is the small initialisation from
    which modes are learnt one after another. ``balanced`` draws the whole map A from N(0, (s/√inputs)²) and spreads
    it over the layers so that W₍ₗ₊₁₎ᵀ W₍ₗ₊₁₎ = W₍ₗ₎ W₍ₗ₎ᵀ, which gradient flow conserves; a layer narrower than
    inputs and outputs keeps the largest singular values of A alone. Hidden layers are ``hidden1``, ``hidden2``, ….

    Args:
        shape: shape of the inputs and number of outputs.
        width: units in each hidden layer.
        depth: number of hidden layers.
        init: how the weights are drawn.
        init_scale: the factor s: of each layer's weights, or of the whole balanced map.

    Source: Saxe et al. 2014, arXiv 1312.6120; Arora et al. 2019, arXiv 1810.02281, procedure 1 (balanced), here with
    the hidden layers turned by random rotations, so that no unit carries one mode alone.
    """
    sizes = [math.prod(shape.inputs), *[width] * depth, shape.outputs]
    maps = [drawn(nn.Linear(a, b, bias=False), gain=init_scale) for a, b in pairwise(sizes)]
    if init == "balanced":
        with torch.no_grad():
            for layer, weight in zip(maps, _balanced(sizes, init_scale), strict=True):
                layer.weight.copy_(weight)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if len(shape.inputs) > 1:
        layers["flatten"] = nn.Flatten()
    for index, linear in enumerate(maps[:-1], start=1):
        layers[f"hidden{index}"] = nn.Sequential(OrderedDict(linear=linear, activation=Identity()))
    layers["readout"] = maps[-1]
    return nn.Sequential(layers)


def _balanced(sizes: list[int], scale: float) -> list[Tensor]:
    """Matrices (sizes[l+1], sizes[l]) whose product is a random map, of as high a rank as they allow."""
    whole = torch.randn(sizes[-1], sizes[0], dtype=torch.float64) * (scale / math.sqrt(sizes[0]))
    left, singular, right = torch.linalg.svd(whole, full_matrices=False)
    rank = min(sizes)
    share = singular[:rank] ** (1 / (len(sizes) - 1))
    # orthonormal columns on either side of each layer: V at the inputs, rotations between, U at the outputs
    bases = [right[:rank].T, *(_orthonormal(n, rank) for n in sizes[1:-1]), left[:, :rank]]
    return [(after * share) @ before.T for before, after in pairwise(bases)]


def _orthonormal(n: int, rank: int) -> Tensor:
    """Random orthonormal columns (n, rank), uniform up to the signs of columns."""
    return torch.linalg.qr(torch.randn(n, rank, dtype=torch.float64)).Q
