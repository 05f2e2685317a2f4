"""The epochs of several learners at once, where their strategies only step down the loss of minibatches."""

import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from avalanche.models.utils import is_multi_task_module
from avalanche.training.plugins.clock import Clock
from torch import Tensor

from clntk.errors import Diverged
from clntk.strategies.avalanche.lean import ITERATION_EVENTS, LeanTemplate, live_callbacks
from clntk.strategies.avalanche.loader import EpochsAhead, TensorLoader
from clntk.strategies.avalanche.per_task import PerTask
from clntk.strategies.avalanche.watch import StepWatch, StopAtLoss
from clntk.strategies.learner import Learner
from clntk.strategies.stacked import NotAlike, Stack, architecture, step_rule
from clntk.strategies.training import accuracy

_WATCHERS = (StepWatch, StopAtLoss, Clock)
Recordings = dict[Hashable, dict[Hashable, Any]]
_EVENTS = (*ITERATION_EVENTS, "before_training_epoch", "after_training_epoch")
TOLD_EVERY = 0.1  # seconds
FEW = 8  # members at which a smaller stack is not worth recording its operations anew


def alike(learner: Learner) -> Hashable:
    """Equal for learners, with a phase begun, whose epochs may be taken together.

    Raises:
        NotAlike: for one whose epochs can only be taken alone.
    """
    strategy = learner.strategy
    if type(strategy) is not LeanTemplate or type(strategy.dataloader) is not TensorLoader:
        raise NotAlike("the strategy trains, or draws its minibatches, in a way of its own")
    for event in _EVENTS:
        for callback in live_callbacks(strategy.plugins, event):
            if type(callback.__self__) not in _WATCHERS:
                raise NotAlike(f"{type(callback.__self__).__name__} acts on every step")
    if strategy.dataloader.pure:
        raise NotAlike("minibatches of one task each differ in size from run to run")
    if isinstance(strategy.model, PerTask) and strategy.model.switch is not None:
        raise NotAlike("units are gated")
    tensors = [*strategy.dataloader.tensors, *(_judged(learner) or ())]
    sizes = tuple((t.shape, t.dtype, str(t.device)) for t in tensors)
    rule = step_rule(strategy.optimizer, strategy.model)
    judged_by = learner.loss, learner.stream.accuracy
    return sizes, learner.training, judged_by, architecture(strategy.model), rule


def footprint(learner: Learner) -> int:
    """Bytes that a learner with a phase begun takes beside others: its stream, and its weights in training."""
    splits = [split for task in learner.stream.tasks for split in (task.train, task.test, task.probe)]
    loader = learner.strategy.dataloader
    # Avalanche's own hold what is counted below
    trained = loader.tensors if isinstance(loader, TensorLoader) else ()
    examples = [*trained, *(t for split in splits for t in (split.x, split.y))]
    state = [*learner.model.parameters(), *learner.model.buffers()]
    return sum(t.nbytes for t in examples) + 6 * sum(t.nbytes for t in state)


def take_epochs(
    learners: Sequence[Learner], sources: Sequence[torch.Generator], recorded: Recordings
) -> list[Diverged | None]:
    """The epochs of the phases that the learners have begun, as one batched computation.

    The results are those of taking them one by one, but for rounding (another order of sums).

    Args:
        learners: with equal :func:`alike`.
        sources: the generator that each learner's run draws from; they end up where they would have.
        recorded: what was recorded for earlier phases; grows.

    Returns:
        For each learner how it failed, or None.

    Raises:
        NotAlike: if they cannot be taken together after all; then nothing has happened.
    """
    first = learners[0]
    kind = architecture(first.strategy.model), first.loss, first.stream.accuracy
    return _Epochs(learners, sources, recorded.setdefault(kind, {})).take()


class _Epochs:
    def __init__(
        self,
        learners: Sequence[Learner],
        sources: Sequence[torch.Generator],
        recorded: dict[Hashable, Any],
    ) -> None:
        self.learners = learners
        first = learners[0]
        self.training = first.training
        strategies = [learner.strategy for learner in learners]
        with_tasks = is_multi_task_module(strategies[0].model)
        loaders = [cast(TensorLoader, s.dataloader) for s in strategies]  # which is what makes them alike
        self.data = _stacked(loader.tensors if with_tasks else loader.tensors[:2] for loader in loaders)
        judged = [kept for learner in learners if (kept := _judged(learner)) is not None]
        self.judged = None if first.training.stop_loss is None else _stacked(judged)
        score = partial(accuracy, rule=first.stream.accuracy)
        self.stack = Stack(
            [s.model for s in strategies], [s.optimizer for s in strategies], first.loss, score, recorded
        )
        self.orders = [EpochsAhead(loader, source) for loader, source in zip(loaders, sources, strict=True)]
        self.batch_size, self.train_epochs = strategies[0].train_mb_size, strategies[0].train_epochs
        self.stack.check(*(part[:, : self.batch_size] for part in self.data))
        self.going = set(range(len(learners)))
        self.failed: list[Diverged | None] = [None] * len(learners)
        self.steps = self.epoch = 0
        self.waiting: list[tuple[Tensor, Tensor]] = []  # losses and accuracies that nobody has been told of
        self.starts: list[int] = []  # which of them begin an epoch
        self.told = time.perf_counter()

    def take(self) -> list[Diverged | None]:
        for _ in range(self.train_epochs):
            if not self.going:
                break
            self.epoch += 1
            self.starts.append(len(self.waiting))
            self._epoch()
            if time.perf_counter() - self.told > TOLD_EVERY:
                self._tell()
        self._leave(set(self.going))
        return self.failed

    def _epoch(self) -> None:
        for batch in self._batches():
            self.waiting.append(self.stack.step(*batch))
            self.steps += 1
            if self.judged is not None and self.steps % self.training.stop_check == 0:
                assert self.training.stop_loss is not None  # or there would be nothing judged
                reached = (self.stack.losses(*self.judged) <= self.training.stop_loss).tolist()
                self._leave({member for member, now in zip(self.stack.members, reached, strict=True) if now})
            if not self.going:
                return

    def _batches(self) -> Iterator[tuple[Tensor, ...]]:
        """The minibatches of an epoch: (inputs, targets, tasks), members × examples × …."""
        orders = {i: next(self.orders[i]) for i in sorted(self.going)}
        any_order = next(iter(orders.values()))
        for k in range(len(any_order)):
            index = torch.stack([orders.get(i, any_order)[k] for i in self.stack.members])
            index = index.to(self.data[0].device)
            rows = torch.arange(len(index), device=index.device)[:, None]
            yield tuple(part[rows, index] for part in self.data)

    def _leave(self, done: set[int]) -> None:
        """Let learners go that have stopped: their weights and clocks are as if they had trained alone."""
        if not done & self.going:
            return
        self._tell()
        done = done & self.going  # some may have failed
        for position, member in enumerate(self.stack.members):
            if member in done:
                self.stack.write_back(position)
                self._set_clock(member)
        self.going -= done
        if self.going and FEW < len(self.stack.members) >= 2 * len(self.going):
            kept = [i for i, member in enumerate(self.stack.members) if member in self.going]
            positions = torch.tensor(kept, device=self.data[0].device)
            self.stack.keep(positions)
            self.data = tuple(part[positions] for part in self.data)
            self.judged = self.judged and tuple(part[positions] for part in self.judged)

    def _set_clock(self, member: int) -> None:
        clock = self.learners[member].strategy.clock
        clock.train_iterations += self.steps
        clock.total_iterations += self.steps
        clock.train_exp_iterations, clock.train_exp_epochs = self.steps, self.epoch
        self.orders[member].settle()

    def _tell(self) -> None:
        """Tell each learner of its losses since the last time; one whose loss is lost is let go."""
        if not self.waiting:
            return
        losses, accuracies = (torch.stack(part, dim=1).tolist() for part in zip(*self.waiting, strict=True))
        lost = set()
        for position, member in enumerate(self.stack.members):
            if member in self.going:
                try:
                    self._tell_one(member, losses[position], accuracies[position])
                except Diverged as error:
                    self.failed[member] = error
                    lost.add(member)
        self.waiting.clear()
        self.starts.clear()
        self.told = time.perf_counter()
        self.going -= lost

    def _tell_one(self, member: int, losses: list[float], accuracies: list[float]) -> None:
        strategy = self.learners[member].strategy
        last = self.starts[-1] if self.starts else 0
        for watch in _plugins(self.learners[member], StepWatch):
            watch.accuracies += accuracies
            watch.take(strategy, losses[:last], epoch=self.epoch - 1)
            watch.take(strategy, losses[last:], epoch=self.epoch)


def _plugins(learner: Learner, kind: type) -> list[Any]:
    return [plugin for plugin in learner.strategy.plugins if isinstance(plugin, kind)]


def _judged(learner: Learner) -> tuple[Tensor, ...] | None:
    """What decides whether a phase may end: inputs, targets, and tasks where the network depends on them."""
    for stop in _plugins(learner, StopAtLoss):
        return stop.data.x, stop.data.y, *([] if stop.tasks is None else [stop.tasks])
    return None


def _stacked(parts: Iterable[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(column) for column in zip(*parts, strict=True))
