"""An orthonormal basis of gradients of logits that no later step may move along."""

from typing import Any

import torch
from torch import Tensor, nn

from clntk.strategies.avalanche.per_task import bare, logits
from clntk.strategies.avalanche.steps import EachStep, phase_examples
from clntk.strategies.gradients import example_gradients, flat, unflat
from clntk.strategies.training import OUTSIDE

NEGLIGIBLE = 1e-5  # of a vector's length: what is left of it beside the basis is rounding


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

    def stepped(self, parameters: list[nn.Parameter], start: list[Tensor]) -> None:
        if self.basis is None:
            return
        step = flat(parameters) - flat(start)
        kept = step - self.basis.T @ (self.basis @ step)
        for p, before, change in zip(parameters, start, unflat(kept, start), strict=True):
            p.copy_(before + change)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        strategy.model.eval()
        new = torch.cat(list(self._gradients(strategy)))
        strategy.model.train()
        if self.samples is not None:
            new = principal(new, self.size)
        self.basis = extended(self.basis, new)

    def _gradients(self, strategy: Any) -> Any:
        x, y, tasks = phase_examples(strategy)
        with torch.no_grad():
            inside = logits(strategy.model, x, tasks) != OUTSIDE
        if self.which == "ground_truth" and y.dtype == torch.long:
            allowed = torch.nn.functional.one_hot(y, inside.shape[1]).bool()
        else:
            allowed = inside
        pairs = allowed.nonzero()  # example, output
        pairs = pairs[torch.randperm(len(pairs))[: self.samples or self.size].to(pairs.device)]
        chosen, outputs = pairs.unbind(1)
        directions = torch.zeros(len(pairs), inside.shape[1], device=x.device)
        directions[torch.arange(len(pairs)), outputs] = 1
        yield from example_gradients(*bare(strategy.model, x[chosen], tasks[chosen]), directions)

    def state_dict(self) -> dict[str, Any]:
        return {"basis": self.basis}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.basis = state["basis"]


def principal(rows: Tensor, most: int) -> Tensor:
    """The leading right singular vectors, no more than the dimensions that the rows span: those beyond are any."""
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    return directions[:most][sizes[:most] > NEGLIGIBLE * sizes[0]]


def extended(basis: Tensor | None, new: Tensor) -> Tensor:
    """An orthonormal basis of the span of both, the old basis first: (directions, dimensions).

    Args:
        basis: orthonormal rows, or None.
        new: further rows, of any length; those within the span so far add nothing.
    """
    lengths = new.norm(dim=1, keepdim=True)
    rest = (new / lengths.clamp(min=torch.finfo(new.dtype).tiny))[lengths[:, 0] > 0].double()
    old = (
        torch.zeros(0, new.shape[1], dtype=torch.float64, device=new.device)
        if basis is None
        else basis.double()
    )
    for _ in range(2):  # once more, for what rounding left
        rest = rest - (rest @ old.T) @ old
    _, sizes, directions = torch.linalg.svd(rest, full_matrices=False)
    fresh = directions[sizes > NEGLIGIBLE]
    return torch.cat([old, fresh]).to(new.dtype)
