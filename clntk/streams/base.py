"""A task stream: the tasks, the order in which they are trained, and their fixed probe sets."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import torch
from torch import Tensor

from clntk.seeding import Seeds
from clntk.shape import TaskShape
from clntk.streams.draws import draws
from clntk.streams.phases import Phase, Schedule, mixed_boundaries, training_order
from clntk.streams.refuse import refuse_stream, refuse_tasks

if TYPE_CHECKING:
    import xarray as xr
    from avalanche.benchmarks import CLScenario

Accuracy = Literal["argmax", "sign", "none"]
Angles = tuple[tuple[float, ...], ...]

if TYPE_CHECKING:
    Given = TypeVar("Given", contravariant=True)
    Kept = TypeVar("Kept", covariant=True)

    class Filled(Generic[Given, Kept]):
        """For type checkers: a field that may be left out, and that is filled in when its object is made."""

        def __get__(self, owner: object, kind: type | None = None) -> Kept: ...

        def __set__(self, owner: object, value: Given) -> None: ...


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

    @property
    def parts(self) -> dict[str, Split]:
        return {"train": self.train, "test": self.test, "probe": self.probe}


@dataclass(frozen=True)
class TaskStream:
    """Tasks in a training order, convertible to an Avalanche benchmark.

    Args:
        tasks: at least two; all with the same input shape and the same number of probes.
        phases: the training order, or the name of a schedule that draws nothing at random.
        outputs: how many outputs a network needs; by default as many as the targets use.
        target: ``"class"`` (integer labels) or ``"value"`` (float targets, examples × outputs).
        accuracy: ``"argmax"``; ``"sign"`` of a single output, zero targets dropped (Flesch et al. 2022); or
            ``"none"``: NaN. By default argmax for labels and none for values, which have no rule of their own.
        chance: the accuracy of a network that knows nothing; the mean over tasks where they differ.
        input_groups: named column ranges, for regimes that scale parts of the input layer.
        heads: for each task the outputs that it may use; None where all tasks share all of them. Float targets are
            0 in the outputs of other tasks.
        context_rate: a in (0, 1]; below 1 the network is trained with a sluggish context
            c_t = a x_t + (1 − a) c_{t−1} over training trials, in the columns ``input_groups["context"]``
            (Flesch, Nagy et al. 2023).
        angles: the angle between each two tasks in degrees, tasks × tasks, where whoever made the stream knows it.
        notes: sentences on what was done to the data, for the log of a run.

    Raises:
        DataError: for one task only, NaN or infinite inputs, unequal shapes or probe counts, labels outside the
            outputs or the head, an accuracy that the targets do not have, a sluggish context without a context.
    """

    tasks: tuple[Task, ...]
    if TYPE_CHECKING:  # what may be given, and what readers find
        phases: Filled[tuple[Phase, ...] | Schedule, tuple[Phase, ...]] = Filled()
        outputs: Filled[int | None, int] = Filled()
        target: Literal["class", "value"] = "class"
        accuracy: Filled[Accuracy | None, Accuracy] = Filled()
    else:
        phases: tuple[Phase, ...] | Schedule = "blocked"
        outputs: int | None = None
        target: Literal["class", "value"] = "class"
        accuracy: Accuracy | None = None
    chance: float = float("nan")
    input_groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    heads: tuple[tuple[int, ...], ...] | None = None
    context_rate: float = 1.0
    angles: Angles | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_tasks(self)
        if isinstance(self.phases, str):
            object.__setattr__(self, "phases", training_order(self.task_names, self.phases))
        if self.outputs is None:
            object.__setattr__(self, "outputs", _outputs_used(self))
        if self.accuracy is None:
            object.__setattr__(self, "accuracy", "argmax" if self.target == "class" else "none")
        refuse_stream(self)

    @property
    def task_names(self) -> list[str]:
        return [task.name for task in self.tasks]

    @property
    def shape(self) -> TaskShape:
        return TaskShape(tuple(self.tasks[0].train.x.shape[1:]), self.outputs, dict(self.input_groups))

    def scheduled(
        self,
        schedule: Schedule,
        seeds: Seeds | None = None,
        *,
        cycles: int = 2,
        mixing: float = 0.5,
        mixing_steps: int = 4,
    ) -> "TaskStream":
        """The same tasks under another training order.

        Args:
            schedule: see :func:`~clntk.streams.phases.training_order`; ``gradual`` is
                :func:`~clntk.streams.phases.mixed_boundaries`.
            seeds: draws the examples at gradual boundaries; no other schedule needs it.
            cycles: passes through all tasks when cyclic.
            mixing: share of a task's examples trained at gradual boundaries.
            mixing_steps: phases between two tasks when gradual.
        """
        if schedule != "gradual" or seeds is None:
            return replace(self, phases=training_order(self.task_names, schedule, cycles=cycles))
        sizes = [len(task.train) for task in self.tasks]
        generator = draws(seeds, "gradual boundaries")
        phases = mixed_boundaries(
            self.task_names, sizes, mixing=mixing, steps=mixing_steps, generator=generator
        )
        return replace(self, phases=phases)

    def phase_data(self, phase: Phase) -> tuple[Split, Tensor]:
        """The training examples of a phase and the task index of each."""
        splits = [self.tasks[t].train for t in phase.tasks]
        if phase.rows is not None:
            splits = [split.subset(rows) for split, rows in zip(splits, phase.rows, strict=True)]
        labels = torch.cat([torch.full((len(s),), t) for t, s in zip(phase.tasks, splits, strict=True)])
        return Split(torch.cat([s.x for s in splits]), torch.cat([s.y for s in splits])), labels

    @cached_property
    def benchmark(self) -> "CLScenario":
        """The stream as an Avalanche benchmark: one train experience a phase, one test experience a task."""
        from clntk.streams.avalanche.benchmark import avalanche_benchmark

        return avalanche_benchmark(self)

    @cached_property
    def descriptors(self) -> "xr.Dataset":
        """How alike each two tasks are: see :func:`clntk.streams.descriptors.task_similarity`."""
        from clntk.streams.descriptors import task_similarity

        return task_similarity(self)


def _outputs_used(stream: TaskStream) -> int:
    """As many outputs as there are target columns, or labels up to the highest."""
    if stream.target == "value":
        return stream.tasks[0].train.y[0].numel()
    return 1 + max(int(part.y.max()) for task in stream.tasks for part in task.parts.values())
