"""What kernels predict of a published run's whole sequence of tasks, beside what its network did."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from clntk.axes import CHECKPOINT, EVAL_TASK, STEP
from clntk.capture.look import Look
from clntk.capture.tangents import DIVERGED, TaskLoss, descent, exact, first_order_change, outputs_of
from clntk.errors import DataError, StoreError
from clntk.measures.predicted_change import learned_before
from clntk.measures.predicted_forgetting import example_losses
from clntk.runs.build import component
from clntk.runs.first_order import step_size, steps_taken, trained_tasks
from clntk.runs.opened import Run
from clntk.runs.rebuild import ProbeSets, refuse_changed_code
from clntk.runs.runset import RunSet
from clntk.seeding import Purpose, Seeds
from clntk.streams.base import Split, Task, TaskStream

KERNELS = ("init", "task start")


def predict_forgetting(
    runs: RunSet, *, on: Literal["train", "probes"] = "train", examples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Losses on all tasks after each of them as two kernels predict them, beside those of the trained network.

    Under a kernel that does not move, outputs follow f ← f − η K ∂L/∂f for as many steps as the run took, of gradient
    descent on all examples at once, phase after phase:

    - ``init``: the kernel at initialisation, for the whole sequence: nothing is looked at that training reached;
    - ``task start``: the kernel at the start of each phase, from the outputs that the network had there.

    Where the first parts from the network, its kernel has moved; where the second does, it moves within a phase. Both
    miss, beside that: the noise of minibatches, examples that are left out, what gradual boundaries and a sluggish
    context do to the training data, and whatever a strategy or weight decay adds to the loss. Exact for a network that
    is linear in its weights, trained on all of these examples at once.

    Args:
        runs: published runs.
        on: the examples that the kernel is of: ``train``, the tasks' training data, for which each run's stream is
            built again; or ``probes``, which are in the run's folder and need no data, but are not what was trained on.
        examples: of each task's training data, drawn at random, at most so many. Leave out few: of a lazy run of
            ``digits_rich_vs_lazy``, ``departure`` at the end was .48 by 100 of each task's 1347 examples, .24 by 400
            and .04 by all; of the rich one, .67, .61 and .58 (one seed).
        seed: of that draw.

    Returns:
        one row for every run, checkpoint after a phase, ``eval_task`` and ``kernel``, with

        - ``trained``: whether the task was trained in that phase;
        - ``predicted``, ``actual``: the mean loss on the task's probes, cross-entropy of labels or ½‖f − y‖² of values;
        - ``predicted_forgetting``, ``actual_forgetting``: by how much the loss has grown since the end of the task's
          first phase (there as predicted by ``init``, as it was for ``task start``); NaN for a task not learned before;
        - ``share``: of each task's training data, that the kernel is of; NaN for probes;
        - ``departure``: ‖f̂ − f‖/‖f − f₀‖ over the task's probes, with f₀ the outputs that the prediction starts from;
          0 is exact, 1 as wrong as to predict no change; NaN where nothing moved.

        NaN where there is no prediction: an optimizer that is not gradient descent, or steps too large for the kernel.

    Raises:
        DataError: for no examples, another word for ``on``, or a kernel that does not fit in memory.
        StoreError: if a run's networks or stream cannot be built again, or the stream gives other data than it gave.

    Source: Jacot et al. 2018, arXiv 1806.07572, for the dynamics; task after task, Bennani et al. 2020, arXiv
        2006.11942, theorem 1.
    """
    if on not in ("train", "probes") or examples < 1:
        raise DataError(
            f"predict_forgetting: expected on='train' or 'probes' and at least 1 example, found {on!r}, {examples}"
        )
    tables = []
    for run in runs:
        seen, share = (run.probe_sets, np.nan) if on == "probes" else training_sets(run, examples, seed)
        tables.append(runs.labelled(run, _table(run, list(forecasts(run, seen))).assign(share=share)))
    if not tables:
        raise StoreError(f"{runs.root or 'runs'}: expected finished runs, found none (see clntk status)")
    return pd.concat(tables, ignore_index=True)


def training_sets(run: Run, examples: int, seed: int = 0) -> tuple[ProbeSets, float]:
    """Some of each task's training data, as the run's networks take them, with heads and the loss.

    Args:
        run: whose stream is built again.
        examples: of each task, at most so many, as many of each.
        seed: draws them.

    Returns:
        these, and what share they are of the data of the task with the most.

    Raises:
        StoreError: if the stream is a user's own and has changed, or gives other data than it gave.
    """
    spec, sets = run.spec, run.probe_sets
    refuse_changed_code(spec, ("stream", spec.stream["name"]))
    stream: TaskStream = component("stream", spec.stream, Seeds(spec.seed))
    for built, stored in zip(stream.tasks, sets.stream.tasks, strict=True):
        if not torch.equal(built.probe.x, stored.probe.x):
            raise StoreError(
                f"{run.path}: expected the stream {spec.stream['name']!r} to give the data that the run was trained "
                f"on, found other probes of {stored.name}; its data or code have changed: take on='probes', or run it "
                "again"
            )
    draw = Seeds(seed).numpy(Purpose.PROBE)
    sizes = [len(task.train) for task in stream.tasks]
    size = min(examples, *sizes)

    def some(task: Task) -> Task:
        rows = draw.permutation(len(task.train))[:size]
        split: Split = task.train.subset(torch.from_numpy(np.sort(rows)))
        return Task(task.name, split, split, split)

    tasks = tuple(some(task) for task in stream.tasks)
    return replace(sets, stream=replace(sets.stream, tasks=tasks)), size / max(sizes)


@dataclass
class _Forecast:
    """Outputs on the examples trained on, and on the probes, as the kernel of one network has them move."""

    seen: Look
    probed: Look
    on_seen: Tensor
    on_probes: Tensor

    @classmethod
    def of(cls, network: nn.Module, seen: ProbeSets, probes: ProbeSets) -> "_Forecast":
        looks = exact(network, seen.inputs), exact(network, probes.inputs)
        return cls(*looks, *(outputs_of(look) for look in looks))

    def follow(self, losses: Mapping[str, TaskLoss], rates: Mapping[str, float], steps: int) -> None:
        moved = descent(self.seen, self.on_seen, losses, rates, steps)
        self.on_seen = self.on_seen + first_order_change(self.seen, moved)
        self.on_probes = self.on_probes + first_order_change(self.probed, moved)

    @property
    def outputs(self) -> np.ndarray:
        """On the probes: (tasks, probes, outputs); NaN once they diverged."""
        f = self.probed.by_task(self.on_probes)
        return (f if f.abs().max() < DIVERGED else f * torch.nan).cpu().numpy()


def forecasts(run: Run, seen: ProbeSets) -> Iterator[dict[str, np.ndarray]]:
    """Outputs on the probes at the end of each phase, (tasks, probes, outputs): ``actual``, and by kernel.

    For each kernel K also ``"K, from"``: the outputs that its prediction starts from.

    Args:
        run: a published run.
        seen: the examples that kernels are of.
    """
    probes, trained = run.probe_sets, trained_tasks(run)
    rate = step_size(run, len(seen.stream.tasks[0].probe))
    whole = _Forecast.of(run.network(run.checkpoints[0]), seen, probes)
    start, before = whole.outputs, whole
    for label, steps in zip(run.checkpoints[1:], steps_taken(run), strict=True):
        row = trained.sel({CHECKPOINT: label})
        tasks = [str(task) for task in row[EVAL_TASK].values[row.values]]
        phase = {"losses": seen.losses, "rates": {t: rate / len(tasks) for t in tasks}, "steps": int(steps)}
        begun = before.outputs
        for forecast in [whole] if before is whole else [whole, before]:
            forecast.follow(**phase)
        after = _Forecast.of(run.network(label), seen, probes)
        yield {
            "actual": after.outputs,
            "init": whole.outputs,
            "init, from": start,
            "task start": before.outputs,
            "task start, from": begun,
        }
        before = after


def _table(run: Run, found: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    f = {name: np.stack([row[name] for row in found]) for name in found[0]}
    losses = {name: _losses(run, f[name]) for name in ("actual", *KERNELS)}
    trained = trained_tasks(run)
    learned, first = learned_before(trained).values, trained.values.argmax(axis=0)

    def grown(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        return np.where(learned, now - then[first, np.arange(now.shape[1])], np.nan)

    tables = []
    for kernel in KERNELS:
        known = losses["init" if kernel == "init" else "actual"]
        values: dict[str, Any] = {
            "trained": trained.values,
            "predicted": losses[kernel],
            "actual": losses["actual"],
            "predicted_forgetting": grown(losses[kernel], known),
            "actual_forgetting": grown(losses["actual"], losses["actual"]),
            "departure": _departure(f[kernel], f["actual"], f[f"{kernel}, from"]),
        }
        grid = pd.MultiIndex.from_product([run.checkpoints[1:], [str(t) for t in trained[EVAL_TASK].values]])
        table = pd.DataFrame({name: v.ravel() for name, v in values.items()})
        table.insert(0, CHECKPOINT, grid.get_level_values(0))
        steps = run.fact("outputs")[STEP].values[1:]
        table.insert(1, STEP, np.repeat(steps, trained.sizes[EVAL_TASK]))
        table.insert(2, EVAL_TASK, grid.get_level_values(1))
        table.insert(3, "kernel", kernel)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _losses(run: Run, outputs: np.ndarray) -> np.ndarray:
    """Mean losses on the probes, by the outputs inside each task's head: (checkpoints, tasks)."""
    sets = run.probe_sets
    targets = np.stack([y.numpy() for y in sets.targets.values()])
    head = np.ones((outputs.shape[1], outputs.shape[-1]), bool) if sets.heads is None else sets.heads.numpy()
    return example_losses(outputs, targets, head).mean(axis=-1)


def _departure(predicted: np.ndarray, actual: np.ndarray, start: np.ndarray) -> np.ndarray:
    off, moved = (np.linalg.norm(d, axis=(-2, -1)) for d in (predicted - actual, actual - start))
    return np.divide(off, moved, out=np.full(off.shape, np.nan), where=moved > 0)
