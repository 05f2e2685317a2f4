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

LossName = Literal["auto", "cross_entropy", "squared_error", "sum_squared_error", "reward"]
Rule = Literal["argmax", "sign", "none"]

OUTSIDE = (
    -1e4
)  # the logit of an output that is not in a task's head: softmax makes it exactly 0, argmax passes it over


@dataclass(frozen=True)
class Loss:
    """A loss of outputs f (examples × outputs) and targets y; outputs outside a head have no part in it.

    Args:
        name: as in :class:`Training`, without ``auto``.
        heads: whether some outputs may be :data:`OUTSIDE`.
    """

    name: str
    heads: bool = False

    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """What is trained on: the mean over examples, or the sum for ``sum_squared_error``."""
        if self.name == "cross_entropy":
            return functional.cross_entropy(f, y)
        if self.name == "reward":
            return self.each(f, y).mean()
        total = 0.5 * self._errors(f, y).square().sum()
        return total / len(f) if self.name == "squared_error" else total

    def each(self, f: Tensor, y: Tensor) -> Tensor:
        """The loss of every example: (examples)."""
        if self.name == "cross_entropy":
            return functional.cross_entropy(f, y, reduction="none")
        if self.name == "reward":
            return -(f.sigmoid() * y).sum(1)  # an output outside the head has a sigmoid of 0
        return 0.5 * self._errors(f, y).square().sum(1)

    def _errors(self, f: Tensor, y: Tensor) -> Tensor:
        # not functional.one_hot, which looks at the labels and so cannot be mapped over
        labels = torch.arange(f.shape[1], device=f.device)
        target = (y[:, None] == labels).to(f.dtype) if y.dtype == torch.long else y
        return (f - target).masked_fill(f == OUTSIDE, 0.0) if self.heads else f - target


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
            ``sum_squared_error`` the same summed; ``reward`` −Σ sigmoid(f)·y averaged over examples, for targets that
            are rewards; ``auto`` takes the first for labels, the second for values.
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
            DataError: for cross-entropy on float targets, and for rewards that are labels.
        """
        name = self.loss
        if name == "auto":
            name = "cross_entropy" if stream.target == "class" else "squared_error"
        if name == "cross_entropy" and stream.target != "class":
            raise DataError(
                "strategy.loss: expected squared_error or sum_squared_error for a stream of float targets, "
                "found cross_entropy"
            )
        if name == "reward" and stream.target == "class":
            raise DataError(
                "strategy.loss: expected cross_entropy or squared_error for a stream of labels, found reward"
            )
        return Loss(name, heads=stream.heads is not None)


def accuracy(f: Tensor, y: Tensor, rule: Rule) -> Tensor:
    """The fraction of examples answered right, in [0, 1], by outputs inside the head; NaN for the rule ``none``.

    ``argmax`` compares with the label, or with the largest of several float targets; ``sign`` counts the outputs whose
    target is not 0, and is NaN where there are none.
    """
    right, counted = answered(f, y, rule)
    return right.sum() / counted.sum()


def answered(f: Tensor, y: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Of each example, how many answers are right, and how many count: (examples) each; see :func:`accuracy`."""
    if rule == "none":
        return f.new_zeros(len(f)), f.new_zeros(len(f))
    if rule == "argmax":
        best = y if y.dtype == torch.long else y.masked_fill(f == OUTSIDE, -torch.inf).argmax(dim=1)
        right = f.argmax(dim=1) == best
        return right, torch.ones_like(right)
    counted = (y != 0) & (f != OUTSIDE)
    return ((f.sign() == y.sign()) & counted).sum(1), counted.sum(1)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    loss: Callable[[Tensor, Tensor], Tensor],
    rule: Rule,
    tasks: Tensor | None = None,
) -> tuple[float, float]:
    """Loss and accuracy on a split, in one batch, in eval mode; the model's mode is restored and no generator
    is touched.

    Args:
        model: the network, or one that takes the examples' tasks too.
        split: the examples.
        loss, rule: by which they are judged.
        tasks: the task of each example, for a network that depends on it.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        f = model(split.x) if tasks is None else model(split.x, tasks)
    finally:
        for module, mode in modes:
            module.training = mode
    return loss(f, split.y).item(), accuracy(f, split.y, rule).item()
