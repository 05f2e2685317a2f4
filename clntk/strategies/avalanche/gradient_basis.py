"""An orthonormal basis of gradients of logits that no later step may move along."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clntk.axes import OUTPUT
from clntk.strategies.avalanche.per_task import bare, logits
from clntk.strategies.avalanche.steps import EachStep, phase_examples
from clntk.strategies.directions import DRAWN, extended, logit_gradients, principal
from clntk.strategies.gradients import flat, unflat
from clntk.strategies.training import OUTSIDE


class GradientBasis(EachStep):
    """Projects every step onto the complement of a basis that grows after each phase.

    Args:
        size: directions that join after each phase, at most.
        which: the logits whose gradients are drawn: ``ground_truth`` or ``all``.
        samples: gradients drawn, of which the principal directions join; None takes ``size`` gradients as they are.
    """

    def __init__(self, size: int, which: str, samples: int | None = None) -> None:
        super().__init__()
        self.size, self.which, self.samples = size, which, samples
        self.basis: Tensor | None = None  # directions × parameters
        self.drawn: list[Tensor] = []  # for each phase, gradients × (example of the phase, output)

    def stepped(self, parameters: list[nn.Parameter], start: list[Tensor]) -> None:
        if self.basis is None:
            return
        step = flat(parameters) - flat(start)
        kept = step - self.basis.T @ (self.basis @ step)
        for p, before, change in zip(parameters, start, unflat(kept, start), strict=True):
            p.copy_(before + change)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        strategy.model.eval()
        new = self._gradients(strategy)
        strategy.model.train()
        if self.samples is not None:
            new = principal(new, self.size)
        self.basis = extended(self.basis, new)

    def _gradients(self, strategy: Any) -> Tensor:
        x, y, tasks = phase_examples(strategy)
        with torch.no_grad():
            inside = logits(strategy.model, x, tasks) != OUTSIDE
        if self.which == "ground_truth" and y.dtype == torch.long:
            allowed = torch.nn.functional.one_hot(y, inside.shape[1]).bool()
        else:
            allowed = inside
        pairs = allowed.nonzero()  # example, output
        pairs = pairs[torch.randperm(len(pairs))[: self.samples or self.size].to(pairs.device)]
        self.drawn.append(pairs.cpu())
        chosen, outputs = pairs.unbind(1)
        return logit_gradients(*bare(strategy.model, x[chosen], tasks[chosen]), outputs, inside.shape[1])

    def facts(self) -> dict[str, xr.Dataset]:
        """Which gradients were drawn: ``phase`` (from 0), ``example`` of the phase's training data and ``output``."""
        sizes = [len(pairs) for pairs in self.drawn]
        pairs = torch.cat([torch.zeros(0, 2, dtype=torch.long), *self.drawn]).numpy()
        columns = {
            "phase": np.repeat(np.arange(len(sizes)), sizes),
            "example": pairs[:, 0],
            OUTPUT: pairs[:, 1],
        }
        return {DRAWN: xr.Dataset({name: ("gradient", column) for name, column in columns.items()})}

    def state_dict(self) -> dict[str, Any]:
        return {"basis": self.basis, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.basis, self.drawn = state["basis"], list(state["drawn"])
