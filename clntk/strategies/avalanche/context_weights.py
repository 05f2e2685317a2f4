"""What happens to the weights of context inputs beside gradient descent."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn


class FixedWeights(SupervisedPlugin):
    """Puts some columns of a layer's weights back after every step, whatever the optimizer did to them.

    Args:
        layer: the layer, its columns as they are to stay.
        columns: which of its inputs.
    """

    def __init__(self, layer: nn.Linear, columns: slice) -> None:
        super().__init__()
        self.layer, self.columns = layer, columns
        self.weights = layer.weight.detach()[:, columns].clone()

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        self.layer.weight[:, self.columns] = self.weights


class OjaStep(SupervisedPlugin):
    """Oja's rule on some columns of a layer's weights, after every step of the optimizer.

    Args:
        layer: the layer that reads the inputs.
        columns: which inputs.
        rate: η.
        mean: what is taken off the inputs in the rule.
        factor: what the weights are multiplied with in the forward pass; the rule is about their product with it.
    """

    def __init__(
        self, layer: nn.Linear, columns: slice, rate: float, mean: Tensor, factor: float = 1.0
    ) -> None:
        super().__init__()
        self.layer, self.columns, self.rate, self.mean = layer, columns, rate, mean
        self.factor = factor

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        weight = self.layer.weight[:, self.columns]
        x = strategy.mb_x[:, self.columns] - self.mean.to(weight)
        weight += self.rate * oja(self.factor * weight, x) / self.factor


def oja(weight: Tensor, x: Tensor) -> Tensor:
    """Mean over examples of y (x − y w), y = w x, for weights (units × inputs): of their shape."""
    y = x @ weight.T
    return (y.T @ x - y.square().sum(0)[:, None] * weight) / len(x)
