"""Plugins that watch the steps: record them, stop at a loss, and notice when it is lost."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import is_multi_task_module
from torch import Tensor

from clntk.errors import Diverged
from clntk.strategies.training import Loss, Training, answered, evaluate
from clntk.streams.base import Split, TaskStream

MANY = 64  # minibatches whose answers wait to be marked


class StepWatch(SupervisedPlugin):
    """Records loss and accuracy of every minibatch, and ends a run whose loss is no longer finite.

    Losses stay tensors until an epoch ends, and answers until there are many, so that watching costs no synchronisation
    a step and little time.

    Args:
        stream: whose phases name what is being trained, and whose rule says what is right.
        on_epoch: called with phase name, epoch (from 1) and the epoch's mean loss.
    """

    def __init__(self, stream: TaskStream, on_epoch: Callable[[str, int, float], None] | None = None) -> None:
        super().__init__()
        self.stream, self.on_epoch = stream, on_epoch
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self._epoch: list[Tensor] = []
        self._answers: list[tuple[Tensor, Tensor]] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self._epoch.append(strategy.loss.detach())
        self._answers.append((strategy.mb_output.detach(), strategy.mbatch[1]))
        if len(self._answers) == MANY:
            self._judge()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        values = torch.cat([loss.reshape(1) for loss in self._epoch]).tolist() if self._epoch else []
        self._epoch.clear()
        self.take(strategy, values, epoch=strategy.clock.train_exp_epochs + 1)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self._judge()

    def _judge(self) -> None:
        """Mark the answers that wait."""
        if self._answers:
            sizes = np.cumsum([0, *(len(f) for f, _ in self._answers)])[:-1]
            outputs, targets = (torch.cat(part) for part in zip(*self._answers, strict=True))
            marks = (part.cpu().numpy() for part in answered(outputs, targets, self.stream.accuracy))
            right, counted = (np.add.reduceat(part.astype(np.int64), sizes) for part in marks)
            self.accuracies += [
                r / c if c else math.nan for r, c in zip(right.tolist(), counted.tolist(), strict=True)
            ]
            self._answers.clear()

    def take(self, strategy: Any, losses: list[float], *, epoch: int) -> None:
        """Losses of consecutive steps up to the end of an epoch (from 1), which is told with their mean.

        Raises:
            Diverged: at the first that is not finite.
        """
        phase = self.stream.phases[strategy.clock.train_exp_counter].name
        for value in losses:
            if not math.isfinite(value):
                raise Diverged(step=len(self.losses) + 1, task=phase, loss=value)
            self.losses.append(value)
        if self.on_epoch is not None and losses:
            self.on_epoch(phase, epoch, sum(losses) / len(losses))

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "accuracies": list(self.accuracies)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.accuracies = list(state["losses"]), list(state["accuracies"])


class StopAtLoss(SupervisedPlugin):
    """Ends a phase once the loss on all of its training data is low enough (matched training loss).

    Source: Chizat et al. 2019 compare regimes at the end of training; at matched loss, time drops out.
    """

    def __init__(self, stream: TaskStream, training: Training, loss: Loss) -> None:
        super().__init__()
        self.stream, self.training, self.loss = stream, training, loss
        self.data: Split | None = None
        self.tasks: Tensor | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        phase = self.stream.phases[strategy.clock.train_exp_counter]
        data, tasks = self.stream.phase_data(phase)
        self.data = data.to(strategy.device)
        self.tasks = tasks.to(strategy.device) if is_multi_task_module(strategy.model) else None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if (strategy.clock.train_exp_iterations + 1) % self.training.stop_check:
            return
        assert self.data is not None  # a phase is under way
        assert self.training.stop_loss is not None  # or this would not be watched for
        reached, _ = evaluate(strategy.model, self.data, self.loss, self.stream.accuracy, self.tasks)
        if reached <= self.training.stop_loss:
            strategy.stop_training()
