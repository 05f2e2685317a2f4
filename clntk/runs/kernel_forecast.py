"""What kernels predict of a published run's whole sequence of tasks, beside what its network did."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from clntk.axes import CHECKPOINT, EVAL_TASK, OUTPUT, PROBE, STEP
from clntk.capture.look import Look
from clntk.capture.tangents import DIVERGED, TaskLoss, descent, exact, first_order_change, outputs_of
from clntk.errors import DataError, StoreError
from clntk.measures.kernel_forecast import KERNEL, KERNELS, judged
from clntk.runs.first_order import step_size, steps_taken, trained_tasks
from clntk.runs.kept import Directions
from clntk.runs.opened import Run
from clntk.runs.rebuild import ProbeSets
from clntk.runs.runset import RunSet
from clntk.runs.torch_state import steady_torch
from clntk.runs.training_data import KEEPING, built_stream, kept_logits, training_sets

EXAMPLES = 2000  # of each task's training data, at most, unless one says otherwise
INIT_KERNEL, PHASE_KERNEL = KERNELS


def predict_forgetting(
    runs: RunSet, *, on: Literal["train", "probes"] = "train", examples: int = EXAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Losses on all tasks after each of them as two kernels predict them, beside those of the trained network.

    Under a kernel that does not move, outputs follow f ← f − η K ∂L/∂f for as many steps as the run took, of gradient
    descent on all examples at once, phase after phase:

    - ``init``: the kernel at initialisation, for the whole sequence: nothing is looked at that training reached;
    - ``task start``: the kernel at the start of each phase, from the outputs that the network had there.

    Of runs of ``ogd`` and ``pca_ogd``, K is what is left of it beside the gradients that the run kept: of the same
    logits, for ``init`` as they were at initialisation, for ``task start`` as they were when they were kept.

    Where the first parts from the network, its kernel has moved; where the second does, it moves within a phase. Both
    miss, beside that: the noise of minibatches (a step of one is taken for a step on all examples), examples that are
    left out, what gradual boundaries and a sluggish context do to the training data, and whatever other strategies or
    weight decay add to the loss. Exact for a network that is linear in its weights, trained on all of these examples
    at once. Of linearised networks on three tasks of 400 examples each (``teacher_student``, ``gaussian_tasks``; 60
    epochs at a rate of .02, two seeds), minibatches of 100, 32 and 8 left a ``departure`` of up to .007, .016 and .024.

    Args:
        runs: published runs.
        on: the examples that the kernel is of: ``train``, the tasks' training data, for which each run's stream is
            built again; or ``probes``, which are in the run's folder and need no data (but for the gradients that a
            strategy kept), but are not what was trained on.
        examples: of each task's training data, drawn at random, at most so many. Leave out few: of a lazy run of
            ``digits_rich_vs_lazy``, ``departure`` at the end was .48 by 100 of each task's 1347 examples, .24 by 400
            and .04 by all; of the rich one, .67, .61 and .58 (one seed).
        seed: of that draw.

    Returns:
        one row for every run, checkpoint after a phase, ``eval_task`` and ``kernel``, with

        - ``trained``: whether the task was trained in that phase;
        - ``predicted``, ``actual``: the mean loss on the task's probes, cross-entropy of labels or ½‖f − y‖² of values
          (of labels, one-hot, where the run was trained on squared errors);
        - ``predicted_forgetting``, ``actual_forgetting``: by how much the loss has grown since the end of the task's
          first phase (there as predicted by ``init``, as it was for ``task start``); NaN for a task not learned before;
        - ``share``: of each task's training data, that the kernel is of; NaN for probes;
        - ``departure``: ‖f̂ − f‖/‖f − f₀‖ over the task's probes, with f₀ the outputs that the prediction starts from;
          0 is exact, 1 as wrong as to predict no change; NaN where nothing moved.

        NaN where there is no prediction: an optimizer that is not gradient descent, or steps too large for the kernel.

    Raises:
        DataError: for no examples, another word for ``on``, or a kernel that does not fit in memory.
        StoreError: if a run's networks or stream cannot be built again, the stream gives other data than it gave, or
            the run is of a clntk that did not yet record which gradients ``ogd`` and ``pca_ogd`` kept.

    Source: Jacot et al. 2018, arXiv 1806.07572, for the dynamics; task after task, Bennani et al. 2020, arXiv
        2006.11942, theorem 1, and theorem 2 for OGD; PCA-OGD, Doan et al. 2021, arXiv 2010.04003.
    """
    if on not in ("train", "probes") or examples < 1:
        raise DataError(
            f"predict_forgetting: expected on='train' or 'probes' and at least 1 example, found {on!r}, {examples}"
        )
    tables = []
    for run in runs:
        seen, share = (run.probe_sets, np.nan) if on == "probes" else training_sets(run, examples, seed)
        found = judged(kernel_forecast(run, seen), run.fact("probes"))
        table = found.transpose(KERNEL, CHECKPOINT, EVAL_TASK).to_dataframe().reset_index()
        columns = [CHECKPOINT, STEP, EVAL_TASK, KERNEL, "trained", *(n for n in found if n != "trained")]
        tables.append(runs.labelled(run, table[columns].assign(share=share)))
    if not tables:
        raise StoreError(f"{runs.root or 'runs'}: expected finished runs, found none (see clntk status)")
    return pd.concat(tables, ignore_index=True)


@steady_torch()
def kernel_forecast(run: Run, seen: ProbeSets | None = None) -> xr.Dataset:
    """Outputs on the probes at the end of each phase, as kernels predict them and as they were.

    Args:
        run: a published run.
        seen: the examples that kernels are of; by default of each task's training data as many as
            :func:`predict_forgetting` takes.

    Returns:
        ``actual`` (checkpoint, eval_task, probe, output); ``predicted`` and ``start``, the outputs that the prediction
        starts from, with ``kernel`` in front: ``init`` and ``task start``; and which tasks were ``trained``.

    Raises:
        StoreError: as :func:`predict_forgetting` does.
    """
    rows = list(forecasts(run, seen or training_sets(run, EXAMPLES)[0]))
    outputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    dims, trained = (CHECKPOINT, EVAL_TASK, PROBE, OUTPUT), trained_tasks(run)
    by_kernel = {"predicted": list(KERNELS), "start": [f"{kernel}, from" for kernel in KERNELS]}
    found = {name: ((KERNEL, *dims), np.stack([outputs[k] for k in of])) for name, of in by_kernel.items()}
    steps = run.fact("outputs")[STEP].values[1:]
    return xr.Dataset(
        {**found, "actual": (dims, outputs["actual"]), "trained": trained},
        coords={KERNEL: list(KERNELS), CHECKPOINT: run.checkpoints[1:], STEP: (CHECKPOINT, steps)},
        attrs={"loss": run.probe_sets.loss.name},
    )


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

    def follow(
        self, losses: Mapping[str, TaskLoss], rates: Mapping[str, float], steps: int, kept: Directions
    ) -> None:
        network = self.seen.model
        overlaps = None
        if rates:
            x = torch.cat([self.seen.inputs[task] for task in rates])
            overlaps = kept.overlaps(network, x, self.on_seen.shape[1])
        moved = descent(self.seen, self.on_seen, losses, rates, steps, overlaps)
        moved = kept.leave_out(network, moved)
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
    probes = run.probe_sets
    whole = _Forecast.of(run.network(run.checkpoints[0]), seen, probes)
    start, before = whole.outputs, whole
    drawn = kept_logits(run) if run.spec.strategy["name"] in KEEPING else [None] * len(run.checkpoints[1:])
    at_init = as_kept = Directions()
    for label, phase, logits in zip(run.checkpoints[1:], _phases(run, seen), drawn, strict=True):
        begun = before.outputs
        whole.follow(**phase, kept=at_init)
        if before is not whole:
            before.follow(**phase, kept=as_kept)
        after = _Forecast.of(run.network(label), seen, probes)
        yield {
            "actual": after.outputs,
            INIT_KERNEL: whole.outputs,
            f"{INIT_KERNEL}, from": start,
            PHASE_KERNEL: before.outputs,
            f"{PHASE_KERNEL}, from": begun,
        }
        before = after
        if logits is not None:
            at_init = at_init.with_phase(run, whole.seen.model, logits)
            as_kept = as_kept.with_phase(run, after.seen.model, logits)


def _phases(run: Run, seen: ProbeSets) -> Iterator[dict[str, Any]]:
    """What each phase trains on: losses, learning rates of the tasks, and how many steps."""
    trained, examples = trained_tasks(run), len(seen.stream.tasks[0].probe)
    each = zip(run.checkpoints[1:], steps_taken(run), _phase_sizes(run), strict=True)
    for label, steps, size in each:
        row = trained.sel({CHECKPOINT: label})
        tasks = [str(task) for task in row[EVAL_TASK].values[row.values]]
        rate = step_size(run, examples, size) / len(tasks)
        yield {"losses": seen.losses, "rates": dict.fromkeys(tasks, rate), "steps": int(steps)}


def _phase_sizes(run: Run) -> list[int | None]:
    """How many examples each phase has, where the size of a step depends on it."""
    if run.probe_sets.loss.name != "sum_squared_error":
        return [None] * (len(run.checkpoints) - 1)
    stream = built_stream(run)
    return [len(stream.phase_data(phase)[1]) for phase in stream.phases]
