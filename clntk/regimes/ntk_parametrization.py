"""The parametrisation in which wide networks are lazy."""

import math
from typing import Annotated

from pydantic import Field
from torch import nn

from clntk.models.layers import fan_in
from clntk.regimes.base import Regime, one_each
from clntk.regimes.rescale import Factors, parameter_layers, rescaled
from clntk.registry import register
from clntk.shape import TaskShape

Sigma = Annotated[float, Field(gt=0)]


@register("regime")
def ntk_parametrization(
    model: nn.Module,
    shape: TaskShape,
    *,
    sigma_w: Sigma | list[Sigma] | None = None,
    sigma_b: Sigma | None = None,
) -> Regime:
    """NTK parametrisation: unit weights, scaled by σ_w/√fan-in in the forward pass; wider networks are lazier.

    Initialisation: weights of linear layers and convolutions are N(0, 1). By default the model's own draw is kept and
    σ_w is its spread, √fan-in times its root mean square, so that the network computes the function it would compute
    without the regime; a given σ_w draws anew, with the run's initialisation generator. Forward pass: y = (σ_w/√fan-in)
    W x + σ_b b; norms, embeddings and positions are as they were. Learning rate: unchanged, and so stable at any width,
    where the kernel's size does not depend on width. The parameters θ, which kernels and weight changes are about, are
    the unit weights; they move by a relative 1/√width, and features with them.

    To sweep the width itself, sweep the model's: ``sweep: {model.width: [64, 256]}``.

    Args:
        model: the network, freshly initialised.
        shape: the task shape (not used).
        sigma_w: σ_w of all layers, or one for each (√2 for ReLU, and 1 for the read-out, keep the variance); null keeps
            the model's own draw.
        sigma_b: σ_b of all biases, redrawn from N(0, 1); null leaves biases as they are, with σ_b = 1.

    Raises:
        DataError: for a wrong number of σ_w, or weights in modules that cannot be rescaled.

    Source: Jacot et al. 2018, arXiv 1806.07572, section 2; Lee et al. 2019, arXiv 1902.06720, eq. (1).
    """
    del shape
    return Regime(unit_weights(model, "ntk_parametrization", sigma_w, sigma_b))


def unit_weights(
    model: nn.Module, regime: str, sigma_w: float | list[float] | None, sigma_b: float | None
) -> nn.Module:
    """The network in NTK parametrisation.

    Raises:
        DataError: as :func:`ntk_parametrization`.
    """
    maps, _ = parameter_layers(model, regime)
    sigmas = list(sigma_w) if isinstance(sigma_w, list) else [sigma_w] * len(maps)
    one_each(f"{regime}.sigma_w", sigmas, maps)
    factors: dict[nn.Module, Factors] = {}
    for layer, sigma in zip(maps, sigmas, strict=True):
        inputs = fan_in(layer)
        if sigma is None:
            # a layer that starts at zero has no spread of its own
            sigma = math.sqrt(inputs * layer.weight.detach().square().mean().item()) or 1.0
        else:
            nn.init.normal_(layer.weight, 0.0, sigma / math.sqrt(inputs))
        if sigma_b is not None and layer.bias is not None:
            nn.init.normal_(layer.bias, 0.0, sigma_b)
        factors[layer] = Factors(sigma / math.sqrt(inputs), sigma_b or 1.0)
    return rescaled(model, factors)
