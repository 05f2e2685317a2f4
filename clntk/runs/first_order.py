"""First-order facts of a published run, computed from its stored weights: gradients, linearisation, output changes."""

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr

from clntk import registry
from clntk.axes import CHECKPOINT, EVAL_TASK, INIT, STEP
from clntk.capture.look import Look
from clntk.capture.tangents import gradient_products, linearised_outputs, output_change
from clntk.errors import DataError
from clntk.measures.summary import SameKind
from clntk.runs.build import training_of, untrained
from clntk.runs.opened import Run


def gradients(run: Run) -> xr.DataArray:
    """Dot products of the tasks' loss gradients on their probes: checkpoint × layer × eval_task × other_task.

    The loss is the one trained on, by the outputs inside the task's head, without what a strategy adds to it; the
    parameters are those that are trained; in double precision.
    """
    sets = run.probe_sets
    return _joined(
        run, (gradient_products(run.network(label), sets.inputs, sets.losses) for label in run.checkpoints)
    )


def layer_kernels(run: Run) -> dict[str, xr.DataArray]:
    """The probe :func:`clntk.capture.probes.layer_kernels` of a run that did not record it: checkpoint × layer × …."""
    rows = []
    for label in run.checkpoints:
        look = Look(run.network(label), run.probe_sets.inputs, {})
        rows.append(registry.get("probe", "layer_kernels")(look))
    return {name: _joined(run, (row[name] for row in rows)) for name in rows[0]}


def linearisation(run: Run) -> xr.Dataset:
    """Outputs, those of the network linearised at initialisation, and those at initialisation, in double precision.

    ``outputs``, ``linear`` and ``start``, each of shape (checkpoint, eval_task, probe, output).

    Raises:
        DataError: if the first checkpoint is not initialisation.
    """
    if run.checkpoints[0] != INIT:
        raise DataError(
            f"{run.path}: expected {INIT!r} as first checkpoint, found {run.checkpoints}; changes are measured from it"
        )
    initial, inputs = run.network(INIT), run.probe_sets.inputs
    return _joined(
        run, (linearised_outputs(initial, run.network(label), inputs) for label in run.checkpoints)
    )


def output_changes(run: Run) -> xr.Dataset:
    """How outputs changed between neighbouring checkpoints, and what first-order theory says of it at either end.

    The variables of :func:`clntk.capture.tangents.output_change`, of shape (checkpoint, eval_task, probe, output), each
    row the interval that ends at its checkpoint; and ``trained`` (checkpoint, eval_task), whether a task was trained
    in it.

    By the kernel, steps are those of gradient descent on all probes of the tasks of the phase, each of the same weight.
    With momentum they are of η/(1 − momentum). There is no such prediction (NaN) for Adam, and for a loss summed over
    all examples of a phase, of which the run does not say how many there were. What a strategy or weight decay adds to
    the loss is left out.
    """
    return _joined(run, _intervals(run), first=1).assign(trained=trained_tasks(run))


def _intervals(run: Run) -> Iterator[xr.Dataset]:
    sets, trained = run.probe_sets, trained_tasks(run)
    steps, rate = steps_taken(run), step_size(run, len(sets.stream.tasks[0].probe))
    before = run.network(run.checkpoints[0])
    for label, taken in zip(run.checkpoints[1:], steps, strict=True):
        after = run.network(label)
        row = trained.sel({CHECKPOINT: label})
        tasks = [str(task) for task in row[EVAL_TASK].values[row.values]]
        rates = {task: rate / len(tasks) for task in tasks}
        yield output_change(before, after, sets.inputs, sets.losses, rates, int(taken))
        before = after


def trained_tasks(run: Run) -> xr.DataArray:
    """Whether a task was trained in the phase that ends at a checkpoint, from the first phase on."""
    return run.fact("schedule")["trained"].isel({CHECKPOINT: slice(1, None)})


def steps_taken(run: Run) -> np.ndarray:
    """Optimizer steps between neighbouring checkpoints."""
    return np.diff(run.fact("outputs")[STEP].values)


def step_size(run: Run, examples: int, phase: int | None = None) -> float:
    """By how much of its gradient on so many examples of a task a step of training moves the weights, on average.

    NaN for an optimizer that is not gradient descent, and for a loss summed over all examples of a phase, unless one
    says how many there are: the run does not.

    Args:
        run: a published run.
        examples: of one task.
        phase: all examples of the phase.
    """
    spec, sets = run.spec, run.probe_sets
    scale = untrained(spec, sets.stream.shape).lr_scale
    training = training_of(spec)
    if training.optimizer != "sgd":
        return float("nan")
    rate = training.lr * scale / (1 - training.momentum)
    if sets.loss.name == "sum_squared_error":  # over a minibatch in training, but over all examples here
        rate *= (training.batch_size or phase or float("nan")) / examples
    return rate


def _joined(run: Run, rows: Iterable[SameKind], first: int = 0) -> SameKind:
    """Rows along the run's checkpoints from the ``first`` on, with their steps and tasks."""
    joined = xr.concat(list(rows), dim=CHECKPOINT, coords="minimal", compat="override", join="exact")
    labels = run.fact("outputs")[CHECKPOINT].isel({CHECKPOINT: slice(first, None)})
    return joined.assign_coords(labels.coords)
