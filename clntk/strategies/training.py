"""What every strategy needs to know about training, and the losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from clntk.errors import DataError
from clntk.streams.base import Split, TaskStream

Loss = Callable[[Tensor, Tensor], Tensor]
LossName = Literal["auto", "cross_entropy", "squared_error", "sum_squared_error"]


@dataclass(frozen=True)
class Training:
    """Options that all strategies share.

    Args:
        epochs: passes over the data of each phase, at most.
        batch_size: examples a minibatch; null takes all of the phase at once.
        lr: learning rate, before the regime's factor.
        optimizer: SGD or Adam.
        momentum: of SGD.
        weight_decay: L2 penalty.
        loss: ``cross_entropy``; ``squared_error`` ½‖f − y‖² averaged over examples (labels one-hot);
            ``sum_squared_error`` the same summed; ``auto`` takes the first for labels, the second for values.
        stop_loss: a phase ends once the loss on all its training data is at or below this, so that regimes are
            compared at matched training loss.
        stop_check: steps between two looks at ``stop_loss``.
        reset_optimizer: whether momentum and the like are forgotten between phases.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] | None = 32
    lr: Annotated[float, Field(gt=0)] = 0.05
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    loss: LossName = "auto"
    stop_loss: Annotated[float, Field(gt=0)] | None = None
    stop_check: Annotated[int, Field(ge=1)] = 10
    reset_optimizer: bool = False

    def make_optimizer(self, model: nn.Module, lr_scale: float) -> torch.optim.Optimizer:
        """The optimizer over the trainable parameters, at the regime's learning rate."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        lr = self.lr * lr_scale
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def make_loss(self, stream: TaskStream) -> Loss:
        """The loss for a stream's targets.

        Raises:
            DataError: for cross-entropy on float targets.
        """
        name = self.loss
        if name == "auto":
            name = "cross_entropy" if stream.target == "class" else "squared_error"
        if name == "cross_entropy":
            if stream.target != "class":
                raise DataError(
                    "strategy.loss: expected squared_error or sum_squared_error for a stream of float targets, "
                    "found cross_entropy"
                )
            return functional.cross_entropy
        mean = name == "squared_error"
        return lambda f, y: _half_squared_error(f, y, mean=mean)


def _half_squared_error(f: Tensor, y: Tensor, *, mean: bool) -> Tensor:
    target = functional.one_hot(y, f.shape[1]).to(f.dtype) if y.dtype == torch.long else y
    total = 0.5 * (f - target).square().sum()
    return total / len(f) if mean else total


def accuracy(f: Tensor, y: Tensor, *, rule: Literal["argmax", "sign"]) -> float:
    """The fraction of examples answered right, in [0, 1]; for ``sign``, of those whose target is not 0."""
    if rule == "argmax":
        return (f.argmax(dim=1) == y).float().mean().item()
    counted = y != 0
    return (f.sign() == y.sign())[counted].float().mean().item()


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, loss: Loss, rule: Literal["argmax", "sign"]
) -> tuple[float, float]:
    """Loss and accuracy on a split, in one batch, in eval mode; the model's mode is restored and no generator
    is touched."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        f = model(split.x)
    finally:
        for module, mode in modes:
            module.training = mode
    return loss(f, split.y).item(), accuracy(f, split.y, rule=rule)
