"""A strategy ready to train a stream phase by phase, whose whole state can be saved and restored."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from clntk.seeding import Seeds
from clntk.strategies.saved import on_devices, with_devices
from clntk.strategies.switch import TaskSwitch
from clntk.strategies.training import Loss, Training, evaluate
from clntk.streams.base import Phase, Split, TaskStream

if TYPE_CHECKING:
    import xarray as xr
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
        seeds: the run's generators, for what a strategy fixes at random before training.
        plugins: the run's own observers, called after the strategy's plugins.
    """

    model: nn.Module
    stream: TaskStream
    lr_scale: float = 1.0
    device: str = "cpu"
    seeds: Seeds = field(default_factory=lambda: Seeds(0))
    plugins: Sequence["SupervisedPlugin"] = field(default_factory=tuple)


@runtime_checkable
class Stateful(Protocol):
    """A plugin that remembers something from one phase to the next."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Telling(Protocol):
    """A plugin with facts of its own for the run to keep: what it chose at random, and theory has to know."""

    def facts(self) -> dict[str, "xr.Dataset"]: ...


class Learner:
    """A network in training on a stream.

    Args:
        strategy: the Avalanche strategy.
        model: the network, by its own names; the strategy may see it through heads and gates.
        stream: the stream in the order in which it is trained.
        training: the shared options.
        loss: the loss trained on.
        switch: tells the network its task, if it has gates.
    """

    def __init__(
        self,
        strategy: "LeanTemplate",
        model: nn.Module,
        stream: TaskStream,
        training: Training,
        loss: Loss,
        switch: TaskSwitch | None = None,
    ) -> None:
        self.strategy, self.model, self.switch = strategy, model, switch
        self.stream, self.training, self.loss = stream, training, loss

    @property
    def steps(self) -> int:
        """Optimizer steps taken so far."""
        return self.strategy.clock.train_iterations

    @property
    def phases_done(self) -> int:
        return self.strategy.clock.train_exp_counter

    @property
    def facts(self) -> dict[str, "xr.Dataset"]:
        """What the strategy's plugins want kept in the run's facts, by name."""
        told = [plugin.facts() for plugin in self.strategy.plugins if isinstance(plugin, Telling)]
        return {name: fact for facts in told for name, fact in facts.items()}

    def train(self, phase: Phase) -> None:
        """Train on one phase of the stream."""
        self.begin(phase)
        self.epochs()
        self.end()

    def begin(self, phase: Phase) -> None:
        """All of a phase's training before its first epoch."""
        index = self.stream.phases.index(phase)
        self.strategy.pure_batches = phase.pure_batches
        if self.training.batch_size is None:
            self.strategy.train_mb_size = len(self.stream.phase_data(phase)[1])
        self.strategy.train_epochs = (phase.until or self.training.epochs) - phase.after
        afresh = self.training.reset_optimizer and not phase.after
        self.strategy.begin(self.stream.benchmark.train_stream[index], reset_optimizer_state=afresh)

    def epochs(self) -> None:
        """The epochs of the phase begun."""
        self.strategy.epochs()

    def end(self) -> None:
        """All of a phase's training after its last epoch."""
        self.strategy.end()

    def evaluate(self, split: Split, task: int) -> tuple[float, float]:
        """Loss and accuracy on examples of one task, with its gates open and within its head."""
        seen_by_task = self.strategy.model is not self.model
        tasks = torch.full((len(split),), task, device=split.x.device) if seen_by_task else None
        return evaluate(self.strategy.model, split, self.loss, self.stream.accuracy, tasks)

    def with_tasks(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name → inputs as the network itself takes them, each with its task where gates depend on it."""
        if self.switch is None:
            return dict(inputs)
        return {
            name: self.switch.with_task(x, self.stream.task_names.index(name)) for name, x in inputs.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that later training depends on, but the random generators: plain values and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.strategy.optimizer.state_dict(),
            "clock": {k: v for k, v in vars(self.strategy.clock).items() if isinstance(v, int)},
            "plugins": [
                with_devices(p.state_dict()) if isinstance(p, Stateful) else None
                for p in self.strategy.plugins
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; the learner must have been built from the same spec."""
        self.model.load_state_dict(state["model"])
        # the first call forgets the optimizer's state, which is why it has to come before loading it
        self.strategy.make_optimizer(reset_optimizer_state=True)
        self.strategy.optimizer.load_state_dict(state["optimizer"])
        self.strategy.clock.__dict__.update(state["clock"])
        for plugin, saved in zip(self.strategy.plugins, state["plugins"], strict=True):
            if saved is not None:
                plugin.load_state_dict(on_devices(saved))


def build_learner(
    setup: Setup, training: Training, *plugins: "SupervisedPlugin", switch: TaskSwitch | None = None
) -> Learner:
    """A learner for a setup: the strategy's own plugins first, then the run's observers.

    Args:
        setup: what to train.
        training: the shared options.
        plugins: the strategy's own.
        switch: tells the network its task, if the strategy has put gates into it.
    """
    from clntk.strategies.avalanche.watch import StopAtLoss

    loss = training.make_loss(setup.stream)
    first = [_sluggish(setup.stream)] if setup.stream.context_rate < 1 else []
    stop = [StopAtLoss(setup.stream, training, loss)] if training.stop_loss is not None else []
    strategy = _template(setup, training, loss, switch, [*first, *plugins, *stop, *setup.plugins])
    return Learner(strategy, setup.model, setup.stream, training, loss, switch)


def _template(
    setup: Setup, training: Training, loss: Loss, switch: TaskSwitch | None, plugins: list[Any]
) -> "LeanTemplate":
    from avalanche.training.plugins import EvaluationPlugin

    from clntk.strategies.avalanche.lean import EVAL_BATCH, LeanTemplate
    from clntk.strategies.avalanche.per_task import PerTask

    stream, model = setup.stream, setup.model
    optimizer = training.make_optimizer(model, setup.lr_scale)
    if stream.heads is not None or switch is not None:
        model = PerTask(model, head_mask(stream), switch)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No loggers specified", UserWarning)
        evaluator = EvaluationPlugin()
    return LeanTemplate(
        model=model,
        optimizer=optimizer,
        criterion=loss,
        train_mb_size=training.batch_size or 1,
        train_epochs=training.epochs,
        eval_mb_size=EVAL_BATCH,
        device=torch.device(setup.device),
        plugins=plugins,
        evaluator=evaluator,
    )


def head_mask(stream: TaskStream) -> Tensor | None:
    """Which outputs each task may use: tasks × outputs, or None where all may use all."""
    if stream.heads is None:
        return None
    mask = torch.zeros(len(stream.tasks), stream.outputs, dtype=torch.bool)
    for task, head in enumerate(stream.heads):
        mask[task, list(head)] = True
    return mask


def disjoint_heads(stream: TaskStream) -> bool:
    """Whether each task has outputs that no other has, so that nothing it learns there is another's."""
    mask = head_mask(stream)
    return mask is not None and int(mask.sum(0).max()) == 1


def _sluggish(stream: TaskStream) -> "SupervisedPlugin":
    from clntk.strategies.avalanche.sluggish import SluggishContext

    return SluggishContext(stream.input_groups["context"], stream.context_rate)
