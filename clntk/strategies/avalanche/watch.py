"""Plugins that watch the loss: record it, stop on it, and notice when it is lost."""

import math
from collections.abc import Callable
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import is_multi_task_module

from clntk.errors import Diverged
from clntk.strategies.training import Loss, Training, evaluate
from clntk.streams.base import TaskStream


class LossWatch(SupervisedPlugin):
    """Records the minibatch loss of every step and ends a run whose loss is no longer finite.

    The losses stay tensors until an epoch ends, so that watching costs no synchronisation a step.

    Args:
        stream: whose phases name what is being trained.
        on_epoch: called with phase name, epoch (from 1) and the epoch's mean loss.
    """

    def __init__(self, stream: TaskStream, on_epoch: Callable[[str, int, float], None] | None = None) -> None:
        super().__init__()
        self.stream, self.on_epoch = stream, on_epoch
        self.losses: list[float] = []
        self._epoch: list[torch.Tensor] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self._epoch.append(strategy.loss.detach())

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        values = torch.cat([loss.reshape(1) for loss in self._epoch]).tolist() if self._epoch else []
        self._epoch.clear()
        self.take(strategy, values, epoch=strategy.clock.train_exp_epochs + 1)

    def take(self, strategy: Any, values: list[float], *, epoch: int) -> None:
        """Losses of consecutive steps up to the end of an epoch (from 1), which is told with their mean.

        Raises:
            Diverged: at the first that is not finite.
        """
        phase = self.stream.phases[strategy.clock.train_exp_counter].name
        for value in values:
            if not math.isfinite(value):
                raise Diverged(step=len(self.losses) + 1, task=phase, loss=value)
            self.losses.append(value)
        if self.on_epoch is not None and values:
            self.on_epoch(phase, epoch, sum(values) / len(values))

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses = list(state["losses"])


class StopAtLoss(SupervisedPlugin):
    """Ends a phase once the loss on all of its training data is low enough (matched training loss).

    Source: Chizat et al. 2019 compare regimes at the end of training; at matched loss, time drops out.
    """

    def __init__(self, stream: TaskStream, training: Training, loss: Loss) -> None:
        super().__init__()
        self.stream, self.training, self.loss = stream, training, loss
        self.data = self.tasks = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        phase = self.stream.phases[strategy.clock.train_exp_counter]
        data, tasks = self.stream.phase_data(phase)
        self.data = data.to(strategy.device)
        self.tasks = tasks.to(strategy.device) if is_multi_task_module(strategy.model) else None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if (strategy.clock.train_exp_iterations + 1) % self.training.stop_check:
            return
        reached, _ = evaluate(strategy.model, self.data, self.loss, self.stream.accuracy, self.tasks)
        if reached <= self.training.stop_loss:
            strategy.stop_training()
