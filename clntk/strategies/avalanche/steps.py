"""What own plugins share: the examples of a phase, and a look at each step of the optimizer."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from clntk.strategies.avalanche.loader import dataset_tensors


def phase_examples(strategy: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and tasks of the phase under way, on the device of training."""
    x, y, tasks = (column.to(strategy.device) for column in dataset_tensors(strategy.experience.dataset))
    return x, y, tasks


class EachStep(SupervisedPlugin):
    """Sees every step of the optimizer, and may change it.

    It is the step that is changed and not the gradient: so momentum, adaptive rates and weight decay cannot lead where
    the gradient alone was kept from going. Without them the two are the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start: list[Tensor] = []

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self._start = [p.detach().clone() for p in _parameters(strategy.model)]

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        parameters = _parameters(strategy.model)
        self.stepped(parameters, self._start)

    def stepped(self, parameters: list[nn.Parameter], start: list[Tensor]) -> None:
        """The optimizer has moved the trained parameters from ``start`` to where they are."""
        raise NotImplementedError


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]
