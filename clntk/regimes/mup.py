"""The parametrisation in which networks of any width learn features alike."""

import math
from typing import Literal

import torch
from torch import nn

from clntk.errors import DataError
from clntk.models.layers import Positive, fan_in
from clntk.models.transformer import Attention
from clntk.regimes.base import Regime
from clntk.regimes.rescale import Factors, parameter_layers, rescaled
from clntk.registry import register
from clntk.shape import TaskShape


@register("regime")
def mup(
    model: nn.Module,
    shape: TaskShape,
    *,
    base_width: Positive = 64,
    optimizer: Literal["sgd", "adam"] = "sgd",
) -> Regime:
    """Maximal update parametrisation (μP): features move as far, and one learning rate is right, at every width.

    With m = (fan-in of the read-out)/``base_width``; at m = 1 nothing is changed. Initialisation: the model's own draw,
    but for the read-out's weights, which are 1/√m as large. Forward pass: attention scores are divided by √m more
    (1/width of a head in all). Learning rates, as multiples of the protocol's: with SGD, m for the first layer, for
    biases, norms and positions, 1 for hidden weights, 1/m for the read-out's; with Adam 1, 1/m and 1/m. They are
    exact for SGD and, but for its ε, for Adam, and are brought about by factors in the forward pass: a parameter θ that
    enters as c·θ learns c² (Adam: c) times as fast. So one learning rate serves all layers, and the tangent kernel
    with respect to θ is the one that SGD trains by. Weight decay acts on θ. Embeddings, or else the first linear layer
    or convolution, are taken for what meets inputs that do not grow with width, the last layer for the read-out, whose
    bias stays as it is.

    Args:
        model: the network, freshly initialised.
        shape: the task shape (not used).
        base_width: the read-out's fan-in at which the network is in standard parametrisation.
        optimizer: the optimizer that the protocol uses; another is refused.

    Raises:
        DataError: for fewer than two layers, or weights in modules that cannot be rescaled.

    Source: Yang & Hu 2021, arXiv 2011.14522, table 1; Yang et al. 2022, arXiv 2203.03466, table 3.
    """
    del shape
    maps, vectors = parameter_layers(model, "mup")
    tokens = any(isinstance(layer, nn.Embedding) for layer in vectors)
    first, hidden, readout = ([], maps[:-1], maps[-1]) if tokens else (maps[:1], maps[1:-1], maps[-1])
    if not tokens and len(maps) < 2:
        raise DataError(
            "mup: expected a first layer and a read-out, found 1 layer; it has no width to scale with"
        )
    m = fan_in(readout) / base_width
    root = math.sqrt(m)
    factors: dict[nn.Module, Factors]
    with torch.no_grad():
        readout.weight.div_(root)
    if optimizer == "sgd":
        factors = {layer: Factors(root, root) for layer in first}
        factors[readout] = Factors(weight=1 / root)
        factors |= {layer: Factors(bias=root) for layer in hidden}
        factors |= {layer: _vector(layer, root) for layer in vectors}
    else:
        factors = {layer: Factors(weight=1 / m) for layer in (*hidden, readout)}
    for module in model.modules():
        if isinstance(module, Attention):
            module.scale /= root
    return Regime(rescaled(model, factors), optimizer=optimizer)


def _vector(layer: nn.Module, factor: float) -> Factors:
    """All parameters of a norm or embedding at one factor; what positions are added to keeps its size."""
    has_weight = isinstance(getattr(layer, "weight", None), nn.Parameter)
    return Factors(factor if has_weight else 1.0, factor)
