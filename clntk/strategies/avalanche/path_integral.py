"""Synaptic intelligence: the path integral of the gradient along the way that the weights took."""

from typing import Any

import torch
from torch import Tensor, nn

from clntk.strategies.avalanche.steps import EachStep


class PathIntegral(EachStep):
    """Credits each weight with the loss that its own movement lowered, and holds it accordingly.

    Args:
        c: strength of the penalty.
        xi: damping ξ of small movements.
    """

    def __init__(self, c: float, xi: float) -> None:
        super().__init__()
        self.c, self.xi = c, xi
        self.importance: list[Tensor] = []  # Ω
        self.anchor: list[Tensor] = []  # θ̃, where this phase started
        self._credit: list[Tensor] = []  # ω
        self._gradient: list[Tensor] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        parameters = [p for p in strategy.model.parameters() if p.requires_grad]
        self._credit = [torch.zeros_like(p) for p in parameters]
        if not self.anchor:
            self.anchor = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        super().before_update(strategy, **kwargs)
        parameters = [p for p in strategy.model.parameters() if p.requires_grad]
        self._gradient = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        for p, held, anchor in zip(parameters, self.importance, self.anchor, strict=bool(self.importance)):
            pull = 2 * self.c * held * (p - anchor)
            p.grad = pull if p.grad is None else p.grad + pull

    def stepped(self, parameters: list[nn.Parameter], start: list[Tensor]) -> None:
        for credit, gradient, p, before in zip(self._credit, self._gradient, parameters, start, strict=True):
            credit.addcmul_(gradient, p - before, value=-1)

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        parameters = [p.detach().clone() for p in strategy.model.parameters() if p.requires_grad]
        earned = [
            credit / ((p - anchor).square() + self.xi)
            for credit, p, anchor in zip(self._credit, parameters, self.anchor, strict=True)
        ]
        before = self.importance or [torch.zeros_like(p) for p in parameters]
        self.importance = [(a + b).clamp_(min=0) for a, b in zip(before, earned, strict=True)]
        self.anchor = parameters

    def state_dict(self) -> dict[str, Any]:
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.importance, self.anchor = list(state["importance"]), list(state["anchor"])
