"""The order of training: a stream's phases, and the schedules that make them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from clntk.errors import DataError, did_you_mean

Schedule = Literal["blocked", "interleaved", "joint", "cyclic", "gradual"]


@dataclass(frozen=True)
class Phase:
    """One stretch of training, between two checkpoints.

    Args:
        name: the label of the checkpoint at its end.
        tasks: indices of the tasks whose data it holds.
        pure_batches: whether each minibatch holds examples of one task only (interleaved training).
        rows: for each of ``tasks``, the training examples that the phase holds; None stands for all of them.
        stretch: of a part of a longer stretch of training, that stretch's name; by default its own.
        after: epochs of the stretch that were taken before.
        until: epochs of the stretch at which the part ends; None stands for all that the strategy asks for.
    """

    name: str
    tasks: tuple[int, ...]
    pure_batches: bool = False
    rows: tuple[Tensor, ...] | None = field(default=None, compare=False, repr=False)
    stretch: str = ""
    after: int = 0
    until: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stretch", self.stretch or self.name)


def cut(phases: Sequence[Phase], looks: Sequence[int]) -> tuple[Phase, ...]:
    """Phases cut after some of their epochs, for a checkpoint there: ``A`` into ``A@1``, ``A@10`` … and ``A``.

    Args:
        phases: whole ones.
        looks: epochs of each phase, rising, fewer than the strategy takes.
    """
    edges = [0, *looks]
    return tuple(
        replace(phase, name=f"{phase.name}@{until}" if until else phase.name, after=after, until=until)
        for phase in phases
        for after, until in zip(edges, [*looks, None], strict=True)
    )


def training_order(task_names: Sequence[str], schedule: Schedule, *, cycles: int = 2) -> tuple[Phase, ...]:
    """The phases of a schedule that draws nothing at random.

    ``blocked`` trains task after task. ``cyclic`` does so ``cycles`` times; the phases of the second pass are called
    ``<task>.2``, and so on. ``joint`` trains on all tasks at once, minibatches drawn from their union; ``interleaved``
    too, but each minibatch holds one task's examples, in random order of tasks.

    Raises:
        DataError: for a schedule that needs more to be known (``gradual``), or that does not exist.
    """
    if schedule in ("blocked", "cyclic"):
        passes = range(1, 1 + (cycles if schedule == "cyclic" else 1))
        return tuple(
            Phase(name if k == 1 else f"{name}.{k}", (i,))
            for k in passes
            for i, name in enumerate(task_names)
        )
    if schedule in ("joint", "interleaved"):
        return (Phase(schedule, tuple(range(len(task_names))), pure_batches=schedule == "interleaved"),)
    known = [name for name in get_args(Schedule) if name != "gradual"]
    hint = (
        "use stream.scheduled('gradual', seeds)" if schedule == "gradual" else did_you_mean(schedule, known)
    )
    raise DataError(f"phases: expected one of {', '.join(known)}, found {schedule!r}; {hint}")


def mixed_boundaries(
    task_names: Sequence[str],
    sizes: Sequence[int],
    *,
    mixing: float,
    steps: int,
    generator: np.random.Generator,
) -> tuple[Phase, ...]:
    """Task after task, each boundary blurred: ``steps`` phases in which one task fades out and the next fades in.

    At each boundary that a task has, ``mixing``/2 of its examples are set aside, drawn at random; in step j of J the
    leaving task's share falls as 1 − (j − ½)/J and the coming one's rises as (j − ½)/J. Every example is in exactly
    one phase, so that an epoch is as many examples as in blocked training. The phases between A and B are called
    ``A-B.1``, ``A-B.2`` …; with ``mixing`` 1, tasks that have two boundaries have no phase of their own.

    Args:
        task_names: in the order of training.
        sizes: training examples of each task.
        mixing: share of a task's examples trained at boundaries, in (0, 1].
        steps: phases J between two tasks.
        generator: draws which examples lie at the boundaries.

    Raises:
        DataError: if a phase between two tasks would be empty.
    """
    rows = [torch.as_tensor(generator.permutation(n)) for n in sizes]
    head = [0, *(int(n * mixing / 2) for n in sizes[1:])]
    tail = [*(round(n * mixing) - int(n * mixing / 2) for n in sizes[:-1]), 0]
    fall = 1 - (np.arange(1, steps + 1) - 0.5) / steps
    phases = []
    for t, name in enumerate(task_names):
        if t:
            leaving = rows[t - 1][sizes[t - 1] - tail[t - 1] :].split(_portions(tail[t - 1], fall))
            coming = rows[t][: head[t]].split(_portions(head[t], fall[::-1]))
            for j, pair in enumerate(zip(leaving, coming, strict=True), start=1):
                phases.append(_part(f"{task_names[t - 1]}-{name}.{j}", (t - 1, t), pair))
        own = rows[t][head[t] : sizes[t] - tail[t]]
        if len(own):
            phases.append(_part(name, (t,), (own,)))
    return tuple(phases)


def _portions(n: int, weights: np.ndarray) -> list[int]:
    """``n`` examples divided in proportion to the weights, to the nearest whole example and with none left over."""
    ends = np.round(n * np.cumsum(weights) / weights.sum()).astype(int)
    return [int(b - a) for a, b in pairwise([0, *ends])]


def _part(name: str, tasks: tuple[int, ...], rows: tuple[Tensor, ...]) -> Phase:
    present = [(task, index) for task, index in zip(tasks, rows, strict=True) if len(index)]
    if not present:
        raise DataError(
            f"mixing: expected examples for every phase between two tasks, found none for {name}; "
            "raise stream.mixing, or lower stream.mixing_steps"
        )
    return Phase(name, tuple(task for task, _ in present), rows=tuple(index for _, index in present))
