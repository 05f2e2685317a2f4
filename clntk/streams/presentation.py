"""How tasks are presented: options of every stream, a user's own among them."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.streams.base import Split, Task, TaskStream
from clntk.streams.phases import Schedule, cut

CYCLES, MIXING, MIXING_STEPS = 2, 0.5, 4  # where the protocol leaves them out


@dataclass(frozen=True)
class Presentation:
    """Options that all streams share: the order of training, the read-out, and what tells tasks apart.

    Args:
        schedule: blocked (the stream's own order: task after task), interleaved, joint, cyclic or gradual; see
            :meth:`TaskStream.scheduled`.
        cycles: only cyclic: passes through all tasks, 2 by default.
        mixing: only gradual: share of a task's examples trained at the boundaries it has, 0.5 by default.
        mixing_steps: only gradual: phases between two tasks, 4 by default.
        head: single (all tasks share all outputs) or multi (each task has outputs of its own; see
            :func:`multi_head`).
        cue: size of a one-hot task cue appended to flat inputs (see :func:`cued`); null for none.
        looks: epochs of every phase after which the network is looked at within it, such as [1, 3, 10]: further
            checkpoints, called ``A@1`` and so on. For strategies that do nothing at the ends of phases, and change
            nothing in what is trained.
        context_rate: a of a sluggish context c_t = a x_t + (1 − a) c_{t−1} over training trials; 1 is not sluggish.
    """

    schedule: Schedule = "blocked"
    cycles: Annotated[int, Field(ge=1)] | None = None
    mixing: Annotated[float, Field(gt=0, le=1)] | None = None
    mixing_steps: Annotated[int, Field(ge=1)] | None = None
    head: Literal["single", "multi"] = "single"
    cue: Annotated[float, Field(gt=0)] | None = None
    looks: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    context_rate: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __call__(self, stream: Any, seeds: Seeds) -> TaskStream:
        """The stream, presented so.

        Raises:
            DataError: for an option that this stream, or another option, has no use for.
        """
        if not isinstance(stream, TaskStream):
            raise DataError(
                f"stream: expected a TaskStream back from its function, found {type(stream).__name__}"
            )
        if self.head == "multi":
            stream = multi_head(stream)
        if self.cue is not None:
            stream = cued(stream, self.cue)
        if self.context_rate != 1.0:
            stream = replace(stream, context_rate=self.context_rate)
        order = self._order()
        if self.schedule != "blocked":
            stream = stream.scheduled(self.schedule, seeds, **order)
        return stream if self.looks is None else replace(stream, phases=cut(stream.phases, self._looks()))

    def _looks(self) -> tuple[int, ...]:
        looks = tuple(self.looks or ())
        if not looks or list(looks) != sorted(set(looks)):
            raise DataError(
                f"stream.looks: expected rising epochs, such as [1, 3, 10], found {list(looks)}; leave it out for none"
            )
        return looks

    def _order(self) -> dict[str, Any]:
        """The schedule's own options, with defaults."""
        order = {"cycles": CYCLES, "mixing": MIXING, "mixing_steps": MIXING_STEPS}
        for option, default in order.items():
            given, schedule = getattr(self, option), "cyclic" if option == "cycles" else "gradual"
            if given is not None and self.schedule != schedule:
                raise DataError(
                    f"stream.{option}: expected schedule {schedule!r}, which alone it is for, "
                    f"found {self.schedule!r}; leave it out"
                )
            order[option] = default if given is None else given
        return order


def multi_head(stream: TaskStream) -> TaskStream:
    """Each task with outputs of its own: the task-incremental scenario.

    Where no two tasks share a label (a split by class), a task's head are its own labels, and chance becomes the mean
    of one over their number. Elsewhere task t of T gets the outputs tC … tC + C − 1 of TC, its labels are raised by
    tC, and float targets are 0 in the outputs of other tasks.

    Raises:
        DataError: if the stream has heads already, or a task has only one class.

    Source: van de Ven & Tolias 2019, arXiv 1904.07734 (task-incremental learning).
    """
    if stream.heads is not None:
        raise DataError(
            "stream.head: expected a stream with a single head, found that it has several already"
        )
    labels = [_labels(task) for task in stream.tasks]
    if stream.target == "class" and sum(map(len, labels)) == len(set().union(*labels)):
        if min(map(len, labels)) < 2:
            raise DataError(
                "stream.head: expected at least two classes a task, found a task of one, "
                "whose own head has nothing to decide; lower n_tasks"
            )
        heads = tuple(tuple(sorted(own)) for own in labels)
        return replace(stream, heads=heads, chance=sum(1 / len(head) for head in heads) / len(heads))
    width, n = stream.outputs, len(stream.tasks)
    heads = tuple(tuple(range(t * width, (t + 1) * width)) for t in range(n))

    def moved(y: Tensor, t: int) -> Tensor:
        if stream.target == "class":
            return y + t * width
        return torch.nn.functional.pad(y, (t * width, (n - 1 - t) * width))

    tasks = tuple(
        _changed(task, lambda part, t=t: Split(part.x, moved(part.y, t)))
        for t, task in enumerate(stream.tasks)
    )
    return replace(stream, tasks=tasks, outputs=n * width, heads=heads)


def cued(stream: TaskStream, value: float) -> TaskStream:
    """Flat inputs with a one-hot task cue of size ``value`` behind them: input groups ``stimulus`` and ``context``.

    Raises:
        DataError: for inputs that are not flat, or that hold a context already.
    """
    shape = stream.shape.inputs
    if len(shape) != 1:
        raise DataError(
            f"stream.cue: expected flat inputs, to append a task cue to, found inputs of shape {shape}, "
            "which have no column for one; flatten images with stream.flatten=true"
        )
    if "context" in stream.input_groups:
        raise DataError("stream.cue: expected inputs without a context, found that the stream brings its own")
    columns, n = shape[0], len(stream.tasks)

    def with_cue(part: Split, t: int) -> Split:
        cue = torch.zeros(len(part), n, dtype=part.x.dtype)
        cue[:, t] = value
        return Split(torch.cat([part.x, cue], dim=1), part.y)

    tasks = tuple(_changed(task, lambda part, t=t: with_cue(part, t)) for t, task in enumerate(stream.tasks))
    groups = {"stimulus": (0, columns), **stream.input_groups, "context": (columns, columns + n)}
    return replace(stream, tasks=tasks, input_groups=groups)


def _labels(task: Task) -> set[int]:
    return {int(label) for part in task.parts.values() for label in part.y.unique()}


def _changed(task: Task, change: Any) -> Task:
    return Task(task.name, **{name: change(part) for name, part in task.parts.items()})
