"""A sluggish sense of context: what the network is told lags behind the trials."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor


class SluggishContext(SupervisedPlugin):
    """Replaces the context inputs of training by their running average, c_t = a x_t + (1 − a) c_{t−1}, c_1 = x_1.

    Trials are the rows of the minibatches, in order, through all phases; tests are seen with their own context.

    Args:
        columns: of the context inputs: start and stop.
        rate: a in (0, 1).

    Source: Flesch, Nagy et al. 2023, PLoS Comput Biol (exponential averaging of the task signal).
    """

    def __init__(self, columns: tuple[int, int], rate: float) -> None:
        super().__init__()
        self.columns, self.rate = slice(*columns), rate
        self.context: Tensor | None = None

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        x = strategy.mb_x
        given = x[:, self.columns]
        context = given[0] if self.context is None else self.context.to(x.device)
        rows = []
        for row in given:
            context = self.rate * row + (1 - self.rate) * context
            rows.append(context)
        self.context = context
        x[:, self.columns] = torch.stack(rows)  # a minibatch is a copy of its examples

    def state_dict(self) -> dict[str, Any]:
        return {"context": self.context}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.context = state["context"]
