"""Rich or lazy by the size of the initial weights, layer by layer."""

from typing import cast

import torch
from torch import Tensor, nn

from clntk.errors import DataError
from clntk.regimes.base import Regime, one_each, weight_layers
from clntk.registry import register
from clntk.shape import TaskShape


@register("regime")
@torch.no_grad()
def init_scale(
    model: nn.Module,
    shape: TaskShape,
    *,
    scale: float | list[float] = 1.0,
    sd: list[float | None] | None = None,
    input_sd: dict[str, float] | None = None,
) -> Regime:
    """Larger initial weights make learning lazier; forward pass and learning rate stay as they are.

    ``scale`` multiplies the model's own draw; ``sd`` and ``input_sd`` redraw from N(0, sd²) with the run's
    initialisation generator, so that two regimes that set the same layers differ in scale alone.

    Args:
        model: the network, freshly initialised.
        shape: the task shape, whose ``input_groups`` name the columns for ``input_sd``.
        scale: one factor on the weights of all layers, or one for each layer.
        sd: standard deviation of each layer's weights; null leaves a layer alone.
        input_sd: standard deviation of the first layer's weights, for each group of inputs.

    Raises:
        DataError: for a wrong number of layers, or an input group the stream does not have.

    Source: Chizat et al. 2019, arXiv 1812.07956; per layer and input group as in Flesch et al. 2022.
    """
    layers = weight_layers(model)
    weights = [cast(Tensor, layer.weight) for layer in layers]
    factors = [scale] * len(layers) if isinstance(scale, int | float) else list(scale)
    for name, values in (("scale", factors), ("sd", sd)):
        if values is not None:
            one_each(f"init_scale.{name}", values, layers)
    for weight, factor in zip(weights, factors, strict=True):
        weight.mul_(factor)
    for weight, target in zip(weights, sd or [], strict=bool(sd)):
        if target is not None:
            weight.normal_(0.0, target)
    for group, target in (input_sd or {}).items():
        if group not in shape.input_groups:
            raise DataError(
                f"init_scale.input_sd: expected input groups {sorted(shape.input_groups)}, found {group!r}"
            )
        start, stop = shape.input_groups[group]
        weights[0][:, start:stop].normal_(0.0, target)
    return Regime(model)
