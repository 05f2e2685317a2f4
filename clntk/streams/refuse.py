"""What cannot be a task stream, said before anything is trained."""

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clntk.axes import INIT
from clntk.errors import DataError

if TYPE_CHECKING:
    from clntk.streams.base import TaskStream


def refuse_tasks(stream: "TaskStream") -> None:
    """
    Raises:
        DataError: for tasks that cannot stand side by side, whatever the outputs.
    """
    if len(stream.tasks) < 2:
        raise DataError(
            f"stream: expected at least two tasks, found {len(stream.tasks)}; "
            "interference and forgetting need a second task: raise n_tasks"
        )
    _refuse_names("task", stream.task_names)
    first = stream.tasks[0]
    for task in stream.tasks:
        for part, split in task.parts.items():
            where = f"stream: {part} set of {task.name}"
            if len(split) == 0 or len(split.x) != len(split.y):
                raise DataError(
                    f"{where}: expected as many inputs as targets, and some; found {len(split.x)} and {len(split.y)}"
                )
            if not split.x.is_floating_point():
                raise DataError(
                    f"{where}: expected inputs of floats, found {split.x.dtype}; convert them with .float()"
                )
            if not split.x.isfinite().all():
                raise DataError(
                    f"{where}: expected finite inputs, found NaN or infinity; clean the data first"
                )
            if split.x.shape[1:] != first.train.x.shape[1:]:
                raise DataError(
                    f"{where}: expected inputs of shape {tuple(first.train.x.shape[1:])} as in {first.name}, "
                    f"found {tuple(split.x.shape[1:])}"
                )
            _refuse_targets(stream, split.y, where)
        if len(task.probe) != len(first.probe):
            raise DataError(
                f"stream: expected {len(first.probe)} probes in {task.name} as in {first.name}, found {len(task.probe)}"
            )


def refuse_stream(stream: "TaskStream") -> None:
    """
    Raises:
        DataError: for phases, outputs, heads, an accuracy, a context or angles that do not fit the tasks.
    """
    _refuse_phases(stream)
    for task in stream.tasks:
        for part, split in task.parts.items():
            _refuse_outside(stream, split.y, f"stream: {part} set of {task.name}")
    if stream.heads is not None:
        _refuse_heads(stream, stream.heads)
    _refuse_accuracy(stream)
    _refuse_context(stream)
    n = len(stream.tasks)
    if stream.angles is not None and [len(row) for row in stream.angles] != [n] * n:
        raise DataError(f"stream.angles: expected {n} × {n} angles in degrees, found {stream.angles}")


def _refuse_phases(stream: "TaskStream") -> None:
    if not stream.phases:
        raise DataError("stream: expected phases to train in, found none; leave them out for task after task")
    _refuse_names("phase", [phase.name for phase in stream.phases])
    known = set(range(len(stream.tasks)))
    for phase in stream.phases:
        if not phase.tasks or not set(phase.tasks) <= known:
            raise DataError(
                f"stream: phase {phase.name}: expected tasks of 0 to {len(known) - 1}, and some; found {phase.tasks}"
            )


def _refuse_names(what: str, names: list[str]) -> None:
    """Names label checkpoints, and checkpoints are files."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"stream: expected every {what} to have a name of its own, found {repeated[0]!r} twice"
        )
    for name in names:
        if not name or name in (INIT, ".", "..") or any(mark in name for mark in "/\\\0"):
            raise DataError(
                f"stream: expected {what} names that can name a file, and not {INIT!r}, found {name!r}"
            )


def _refuse_targets(stream: "TaskStream", y: Tensor, where: str) -> None:
    if stream.target == "class":
        if y.dtype == torch.long and y.ndim == 1:
            return
        raise DataError(
            f"{where}: expected a vector of integer labels, found {y.dtype} of shape {tuple(y.shape)}"
        )
    if not y.is_floating_point() or not y.isfinite().all() or y.ndim != 2:
        columns = "outputs" if stream.outputs is None else stream.outputs
        raise DataError(
            f"{where}: expected finite targets of shape (examples, {columns}), "
            f"found {y.dtype} of shape {tuple(y.shape)}{'' if y.isfinite().all() else ' with NaN or infinity'}"
        )


def _refuse_outside(stream: "TaskStream", y: Tensor, where: str) -> None:
    if stream.target == "class":
        if y.min() < 0 or y.max() >= stream.outputs:
            raise DataError(
                f"{where}: expected labels 0 to {stream.outputs - 1}, found {int(y.min())} to {int(y.max())}"
            )
    elif y.shape[1] != stream.outputs:
        raise DataError(
            f"{where}: expected finite targets of shape (examples, {stream.outputs}), found shape {tuple(y.shape)}"
        )


def _refuse_heads(stream: "TaskStream", heads: tuple[tuple[int, ...], ...]) -> None:
    if len(heads) != len(stream.tasks):
        raise DataError(
            f"stream.heads: expected one for each of {len(stream.tasks)} tasks, found {len(heads)}"
        )
    for task, head in zip(stream.tasks, heads, strict=True):
        where = f"stream.heads: {task.name}"
        if not head or len(set(head)) != len(head) or not set(head) <= set(range(stream.outputs)):
            raise DataError(
                f"{where}: expected different outputs of 0 to {stream.outputs - 1}, and some; found {head}"
            )
        if stream.target != "class":
            continue
        outside = {int(label) for part in task.parts.values() for label in part.y.unique()} - set(head)
        if outside:
            raise DataError(
                f"{where}: expected labels among its outputs {head}, found {sorted(outside)} besides"
            )


def _refuse_accuracy(stream: "TaskStream") -> None:
    widths = [stream.outputs] if stream.heads is None else [len(head) for head in stream.heads]
    if stream.accuracy == "sign" and (stream.target == "class" or set(widths) != {1}):
        raise DataError(
            f"stream.accuracy: expected float targets of a single output for 'sign', found {widths[0]} outputs "
            f"and targets that are a {stream.target}"
        )
    if stream.accuracy == "argmax" and stream.target == "value" and 1 in widths:
        raise DataError(
            "stream.accuracy: expected several outputs for 'argmax' of float targets, found one, which is always the "
            "largest; choose 'sign', or 'none' for no accuracy"
        )


def _refuse_context(stream: "TaskStream") -> None:
    inputs = stream.tasks[0].train.x
    for name, (start, stop) in stream.input_groups.items():
        if not 0 <= start < stop <= inputs.shape[-1]:
            raise DataError(
                f"stream.input_groups: expected columns within 0 to {inputs.shape[-1]} for {name!r}, "
                f"found {start} to {stop}"
            )
    if not 0 < stream.context_rate <= 1:
        raise DataError(f"stream.context_rate: expected a rate in (0, 1], found {stream.context_rate}")
    if stream.context_rate == 1:
        return
    start, stop = stream.input_groups.get("context", (0, 0))
    if inputs.ndim != 2 or not any(task.train.x[:, start:stop].any() for task in stream.tasks):
        raise DataError(
            "stream.context_rate: expected a stream with context inputs, to make sluggish; found none in "
            f"inputs of shape {tuple(inputs.shape[1:])}; append a task cue with stream.cue"
        )
