"""The data that a published run was trained on: its stream, built again."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from clntk.axes import OUTPUT
from clntk.errors import StoreError
from clntk.protocol.spec import name_of
from clntk.runs.build import component
from clntk.runs.opened import Run
from clntk.runs.rebuild import ProbeSets
from clntk.runs.used import refuse_unnamed_or_changed
from clntk.seeding import Purpose, Seeds
from clntk.strategies.directions import DRAWN
from clntk.strategies.switch import TaskSwitch
from clntk.streams.base import Split, Task, TaskStream

KEEPING = ("ogd", "pca_ogd")  # strategies that keep gradients of single logits


def built_stream(run: Run) -> TaskStream:
    """A run's stream with all of its data.

    Raises:
        StoreError: if the stream is a user's own and has changed, or gives other data than it gave.
    """
    spec = run.spec
    refuse_unnamed_or_changed(spec, ("stream", name_of(spec.stream)))
    stream: TaskStream = component("stream", spec.stream, Seeds(spec.seed))
    for built, stored in zip(stream.tasks, run.probe_sets.stream.tasks, strict=True):
        if not torch.equal(built.probe.x, stored.probe.x):
            raise StoreError(
                f"{run.path}: expected the stream {spec.stream['name']!r} to give the data that the run was trained "
                f"on, found other probes of {stored.name}; its data or code have changed: take on='probes', or run it "
                "again"
            )
    return stream


def training_sets(run: Run, examples: int, seed: int = 0) -> tuple[ProbeSets, float]:
    """Some of each task's training data, as the run's networks take them, with heads and the loss.

    Args:
        run: whose stream is built again.
        examples: of each task, at most so many, as many of each.
        seed: draws them.

    Returns:
        these, and what share they are of the data of the task with the most.

    Raises:
        StoreError: as :func:`built_stream` does.
    """
    stream, sets = built_stream(run), run.probe_sets
    draw = Seeds(seed).numpy(Purpose.PROBE)
    sizes = [len(task.train) for task in stream.tasks]
    size = min(examples, *sizes)

    def some(task: Task) -> Task:
        rows = draw.permutation(len(task.train))[:size]
        split: Split = task.train.subset(torch.from_numpy(np.sort(rows)))
        return Task(task.name, split, split, split)

    tasks = tuple(some(task) for task in stream.tasks)
    return replace(sets, stream=replace(sets.stream, tasks=tasks)), size / max(sizes)


@dataclass(frozen=True)
class Logits:
    """Single logits on training examples of one phase.

    Args:
        x: (R, features…), inputs as the run's networks take them.
        y: labels (R), or values (R, outputs).
        tasks: (R), the task that each example is of.
        outputs: (R), which logit of the example.
    """

    x: Tensor
    y: Tensor
    tasks: Tensor
    outputs: Tensor


def kept_logits(run: Run) -> list[Logits]:
    """The logits whose gradients a run's strategy drew after each phase.

    Of a strategy that keeps none, those that ``ogd`` draws from if not told otherwise: of all training examples the
    logit of the label, or all logits of float targets.

    Raises:
        StoreError: as :func:`built_stream` does; or if the strategy keeps gradients, and the run is of a clntk that did
            not yet record which.
    """
    stream, sets = built_stream(run), run.probe_sets
    ride = TaskSwitch(nn.Identity(), sets.stream.shape.inputs).with_task
    found = []
    for phase, drawn in zip(stream.phases, _drawn(run, len(stream.phases)), strict=True):
        data, tasks = stream.phase_data(phase)
        pairs = _all_of(data.y, tasks, sets) if drawn is None else drawn
        examples, outputs = pairs.unbind(1)
        x, of = data.x[examples], tasks[examples]
        found.append(Logits(ride(x, of) if sets.gated else x, data.y[examples], of, outputs))
    return found


def _all_of(y: Tensor, tasks: Tensor, sets: ProbeSets) -> Tensor:
    """(example, output) of the label's logit, or of all logits that a task may use."""
    if y.dtype == torch.long:
        return torch.stack([torch.arange(len(y)), y], dim=1)
    inside = torch.ones(len(y), sets.stream.outputs) if sets.heads is None else sets.heads[tasks]
    return inside.nonzero()


def _drawn(run: Run, phases: int) -> list[Tensor | None]:
    """For each phase (example, output) of every gradient drawn, or None for a strategy that draws none."""
    if run.spec.strategy["name"] not in KEEPING:
        return [None] * phases
    if DRAWN not in run.tree.children:
        raise StoreError(
            f"{run.path}: expected a record of the gradients that {run.spec.strategy['name']} drew, found a run of a "
            "clntk that did not yet keep one; run it again"
        )
    fact = run.fact(DRAWN)
    pairs = torch.from_numpy(np.stack([fact["example"].values, fact[OUTPUT].values], axis=1))
    return [pairs[torch.from_numpy(fact["phase"].values == phase)] for phase in range(phases)]
