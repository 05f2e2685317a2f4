"""A task stream: the tasks, the order in which they are trained, and their fixed probe sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from clntk.errors import DataError
from clntk.shape import TaskShape

if TYPE_CHECKING:
    from avalanche.benchmarks import CLScenario

Schedule = Literal["blocked", "interleaved", "joint"]


@dataclass(frozen=True)
class Split:
    """Inputs ``x`` (examples × features…) and targets ``y`` (class indices, or examples × outputs)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, index: Tensor) -> "Split":
        return Split(self.x[index], self.y[index])

    def to(self, device: torch.device) -> "Split":
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Task:
    """One task: what it is trained on, tested on, and looked at through (the same probes at every checkpoint)."""

    name: str
    train: Split
    test: Split
    probe: Split


@dataclass(frozen=True)
class Phase:
    """One stretch of training, between two checkpoints.

    Args:
        name: the label of the checkpoint at its end.
        tasks: indices of the tasks whose data it holds.
        pure_batches: whether each minibatch holds examples of one task only (interleaved training).
    """

    name: str
    tasks: tuple[int, ...]
    pure_batches: bool = False


@dataclass(frozen=True)
class TaskStream:
    """Tasks in a training order, convertible to an Avalanche benchmark.

    Args:
        tasks: at least two; all with the same input shape and the same number of probes.
        phases: the training order.
        outputs: how many outputs a network needs.
        target: ``"class"`` (integer labels) or ``"value"`` (float targets, examples × outputs).
        accuracy: ``"argmax"``, or ``"sign"`` of a single output with zero targets dropped (Flesch et al. 2022).
        chance: the accuracy of a network that knows nothing.
        input_groups: named column ranges, for regimes that scale parts of the input layer.

    Raises:
        DataError: for one task only, NaN or infinite inputs, unequal shapes or probe counts, labels outside the
            outputs.
    """

    tasks: tuple[Task, ...]
    phases: tuple[Phase, ...]
    outputs: int
    target: Literal["class", "value"] = "class"
    accuracy: Literal["argmax", "sign"] = "argmax"
    chance: float = float("nan")
    input_groups: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_tasks(self)

    @property
    def task_names(self) -> list[str]:
        return [task.name for task in self.tasks]

    @property
    def shape(self) -> TaskShape:
        return TaskShape(tuple(self.tasks[0].train.x.shape[1:]), self.outputs, dict(self.input_groups))

    def scheduled(self, schedule: Schedule) -> "TaskStream":
        """The same tasks under another training order."""
        return replace(self, phases=training_order(self.task_names, schedule))

    def phase_data(self, phase: Phase) -> tuple[Split, Tensor]:
        """The training examples of a phase and the task index of each."""
        splits = [self.tasks[t].train for t in phase.tasks]
        labels = torch.cat([torch.full((len(s),), t) for t, s in zip(phase.tasks, splits, strict=True)])
        return Split(torch.cat([s.x for s in splits]), torch.cat([s.y for s in splits])), labels

    @cached_property
    def benchmark(self) -> "CLScenario":
        """The stream as an Avalanche benchmark: one train experience a phase, one test experience a task."""
        from clntk.streams.avalanche.benchmark import avalanche_benchmark

        return avalanche_benchmark(self)


def training_order(task_names: Sequence[str], schedule: Schedule) -> tuple[Phase, ...]:
    """The phases of a schedule.

    ``blocked`` trains task after task. ``joint`` trains on all tasks at once, minibatches drawn from their union;
    ``interleaved`` too, but each minibatch holds one task's examples, in random order of tasks.
    """
    if schedule == "blocked":
        return tuple(Phase(name, (i,)) for i, name in enumerate(task_names))
    return (Phase(schedule, tuple(range(len(task_names))), pure_batches=schedule == "interleaved"),)


def draw_probe(pool: Split, n_probe: int, generator: torch.Generator) -> Split:
    """A fixed random subset of ``n_probe`` examples.

    Raises:
        DataError: if the pool is smaller than that.
    """
    if n_probe > len(pool):
        raise DataError(
            f"n_probe: expected at most the {len(pool)} test examples of a task, found {n_probe}; lower n_probe"
        )
    return pool.subset(torch.randperm(len(pool), generator=generator)[:n_probe])


def _check_tasks(stream: TaskStream) -> None:
    if len(stream.tasks) < 2:
        raise DataError(
            f"stream: expected at least two tasks, found {len(stream.tasks)}; "
            "interference and forgetting need a second task: raise n_tasks"
        )
    first = stream.tasks[0]
    for task in stream.tasks:
        for part in ("train", "test", "probe"):
            split: Split = getattr(task, part)
            where = f"stream: {part} set of {task.name}"
            if len(split) == 0 or len(split.x) != len(split.y):
                raise DataError(
                    f"{where}: expected as many inputs as targets, and some; found {len(split.x)} and {len(split.y)}"
                )
            if not torch.isfinite(split.x).all():
                raise DataError(
                    f"{where}: expected finite inputs, found NaN or infinity; clean the data first"
                )
            if split.x.shape[1:] != first.train.x.shape[1:]:
                raise DataError(
                    f"{where}: expected inputs of shape {tuple(first.train.x.shape[1:])} as in {first.name}, "
                    f"found {tuple(split.x.shape[1:])}"
                )
            _check_targets(stream, split.y, where)
        if len(task.probe) != len(first.probe):
            raise DataError(
                f"stream: expected {len(first.probe)} probes in {task.name} as in {first.name}, found {len(task.probe)}"
            )


def _check_targets(stream: TaskStream, y: Tensor, where: str) -> None:
    if stream.target == "class":
        if y.dtype != torch.long or y.ndim != 1:
            raise DataError(
                f"{where}: expected a vector of integer labels, found {y.dtype} of shape {tuple(y.shape)}"
            )
        if y.min() < 0 or y.max() >= stream.outputs:
            raise DataError(
                f"{where}: expected labels 0 to {stream.outputs - 1}, found {int(y.min())} to {int(y.max())}"
            )
    elif y.shape[1:] != (stream.outputs,) or not torch.isfinite(y).all():
        raise DataError(
            f"{where}: expected finite targets of shape (examples, {stream.outputs}), found shape {tuple(y.shape)}"
        )
