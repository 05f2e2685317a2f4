"""A strategy ready to train a stream phase by phase, whose whole state can be saved and restored."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import nn

from clntk.strategies.training import Loss, Training
from clntk.streams.base import Phase, TaskStream

if TYPE_CHECKING:
    from avalanche.core import SupervisedPlugin

    from clntk.strategies.avalanche.lean import LeanTemplate


@dataclass(frozen=True)
class Setup:
    """What a strategy is handed.

    Args:
        model: the network, as its regime made it.
        stream: the stream, in its own training order.
        lr_scale: the regime's factor on the learning rate.
        device: where to train.
        plugins: the run's own observers, called after the strategy's plugins.
    """

    model: nn.Module
    stream: TaskStream
    lr_scale: float = 1.0
    device: str = "cpu"
    plugins: Sequence["SupervisedPlugin"] = field(default_factory=tuple)


@runtime_checkable
class Stateful(Protocol):
    """A plugin that remembers something from one phase to the next."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Learner:
    """A network in training on a stream.

    Args:
        strategy: the Avalanche strategy.
        stream: the stream in the order in which it is trained.
        training: the shared options.
        loss: the loss trained on.
    """

    def __init__(self, strategy: "LeanTemplate", stream: TaskStream, training: Training, loss: Loss) -> None:
        self.strategy, self.stream, self.training, self.loss = strategy, stream, training, loss

    @property
    def model(self) -> nn.Module:
        return self.strategy.model

    @property
    def steps(self) -> int:
        """Optimizer steps taken so far."""
        return self.strategy.clock.train_iterations

    @property
    def phases_done(self) -> int:
        return self.strategy.clock.train_exp_counter

    def train(self, phase: Phase) -> None:
        """Train on one phase of the stream."""
        index = self.stream.phases.index(phase)
        self.strategy.pure_batches = phase.pure_batches
        if self.training.batch_size is None:
            self.strategy.train_mb_size = sum(len(self.stream.tasks[t].train) for t in phase.tasks)
        self.strategy.train(
            self.stream.benchmark.train_stream[index],
            eval_streams=[],
            reset_optimizer_state=self.training.reset_optimizer,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that later training depends on, but the random generators: plain values and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.strategy.optimizer.state_dict(),
            "clock": {k: v for k, v in vars(self.strategy.clock).items() if isinstance(v, int)},
            "plugins": [p.state_dict() if isinstance(p, Stateful) else None for p in self.strategy.plugins],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; the learner must have been built from the same spec."""
        self.model.load_state_dict(state["model"])
        # the first call forgets the optimizer's state, which is why it has to come before loading it
        self.strategy.make_optimizer(reset_optimizer_state=True)
        self.strategy.optimizer.load_state_dict(state["optimizer"])
        vars(self.strategy.clock).update(state["clock"])
        for plugin, saved in zip(self.strategy.plugins, state["plugins"], strict=True):
            if saved is not None:
                plugin.load_state_dict(saved)


def build_learner(setup: Setup, training: Training, *plugins: "SupervisedPlugin") -> Learner:
    """A learner for a setup: the strategy's own plugins first, then the run's observers."""
    from avalanche.training.plugins import EvaluationPlugin

    from clntk.strategies.avalanche.lean import EVAL_BATCH, LeanTemplate
    from clntk.strategies.avalanche.watch import StopAtLoss

    loss = training.make_loss(setup.stream)
    stop = [StopAtLoss(setup.stream, training, loss)] if training.stop_loss is not None else []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No loggers specified", UserWarning)
        evaluator = EvaluationPlugin()
    strategy = LeanTemplate(
        model=setup.model,
        optimizer=training.make_optimizer(setup.model, setup.lr_scale),
        criterion=loss,
        train_mb_size=training.batch_size or 1,
        train_epochs=training.epochs,
        eval_mb_size=EVAL_BATCH,
        device=torch.device(setup.device),
        plugins=[*plugins, *stop, *setup.plugins],
        evaluator=evaluator,
    )
    return Learner(strategy, setup.stream, training, loss)
