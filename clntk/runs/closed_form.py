"""A published run's outputs beside the closed form f_t of training under a kernel that does not move."""

from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from clntk.axes import CHECKPOINT, EVAL_TASK, INIT, OUTPUT, STEP
from clntk.capture.tangents import DIVERGED
from clntk.errors import StoreError
from clntk.kernels.empirical import empirical_ntk
from clntk.kernels.infinite.kernels import infinite_ntk
from clntk.measures.closed_form import EXAMPLE, KERNEL, KERNELS
from clntk.runs.first_order import step_size, steps_taken, trained_tasks
from clntk.runs.infinite import infinite_twin
from clntk.runs.opened import Run
from clntk.runs.rebuild import ProbeSets
from clntk.runs.torch_state import steady_torch
from clntk.runs.training_data import training_sets
from clntk.theory.dynamics import kernel_dynamics
from clntk.theory.schedules import GradientDescent

ROWS = 4000  # of a kernel: its eigenvalues take a minute there, and eight times as long for twice as many
Phase = tuple[np.ndarray, GradientDescent]  # positions of its training examples, and how it goes down on them


@steady_torch()
def closed_form(run: Run) -> dict[str, xr.Dataset]:
    """Outputs on training examples and probes at every checkpoint, as they were and as two fixed kernels have them.

    From the outputs at initialisation, phase after phase by :func:`clntk.kernel_dynamics` in steps of gradient descent
    on the squared error over all training examples of the phase: exact for a network that is linear in its weights,
    trained on whole batches. A step of a minibatch is taken for one on all examples, momentum for a larger step;
    whatever a strategy or weight decay adds to the loss is left out.

    Args:
        run: a published run, trained by gradient descent on ``squared_error``, all tasks by all outputs.

    Returns:
        ``train`` and ``probes``, each with ``actual`` (checkpoint, eval_task, example, output) and ``predicted``, with
        ``kernel`` in front: ``empirical``, the network's own at initialisation, and ``infinite``, that of its
        infinitely wide twin (NaN without one: the attribute ``without_twin`` says why). NaN once outputs diverge.

    Raises:
        StoreError: for another loss or optimizer, heads, a kernel of more than :data:`ROWS` rows; or if the run's
            networks or stream cannot be built again.
    """
    _refuse(run)
    seen, probes = training_sets(run, ROWS)[0], run.probe_sets
    parts = {"train": seen, "probes": probes}
    x = torch.cat([x for sets in parts.values() for x in sets.inputs.values()]).double()
    _refuse_many(run, len(x))
    kernels, without_twin = _kernels(run, x)
    actual = np.stack([_outputs(run, label, x) for label in run.checkpoints])
    y, phases = _targets(seen), list(_phases(run, seen))
    predicted = np.full((len(KERNELS), *actual.shape), np.nan)
    for row, kernel in zip(predicted, kernels, strict=True):
        if kernel is not None:
            row[:] = _followed(kernel, actual[0], y, phases)
    end = len(seen.stream.tasks) * len(seen.stream.tasks[0].probe)
    found = zip(parts, np.split(actual, [end], axis=-2), np.split(predicted, [end], axis=-2), strict=True)
    return {on: _labelled(run, now, then).assign_attrs(without_twin=without_twin) for on, now, then in found}


def _kernels(run: Run, x: Tensor) -> tuple[tuple[np.ndarray, np.ndarray | None], str]:
    """Of all examples with themselves, (R, C, R, C) of the network and (R, R) of its twin; and why it has none."""
    empirical = empirical_ntk(run.network(INIT, dtype=torch.float64), x, mode="full").detach().numpy()
    try:
        return (empirical, infinite_ntk(infinite_twin(run), x).numpy()), ""
    except StoreError as refusal:
        return (empirical, None), str(refusal)


def _phases(run: Run, seen: ProbeSets) -> Iterator[Phase]:
    """What each phase trains on, and in what steps."""
    examples = len(seen.stream.tasks[0].probe)
    each = trained_tasks(run).transpose(CHECKPOINT, EVAL_TASK).values
    for trained, steps in zip(each, steps_taken(run), strict=True):
        own = np.flatnonzero(np.repeat(trained, examples))
        yield own, GradientDescent(int(steps), step_size(run, examples), "mean", unstable="follow")


def _followed(kernel: np.ndarray, start: np.ndarray, y: np.ndarray, phases: list[Phase]) -> np.ndarray:
    """Outputs on all examples from initialisation on, one row a checkpoint: NaN once they diverged."""
    columns = kernel.ndim // 2
    rows = [start]
    for own, descent in phases:
        f = rows[-1]
        if np.abs(f).max() < DIVERGED:
            seen = kernel.take(own, axis=columns)
            with np.errstate(over="ignore", invalid="ignore"):
                fit = kernel_dynamics(
                    seen[own], y[own], descent, start=f[own], test_kernel=seen, test_start=f
                )
            assert fit.test is not None  # it was asked for
            f = fit.test[0]
        rows.append(f if np.abs(f).max() < DIVERGED else f * np.nan)
    return np.stack(rows)


@torch.no_grad()
def _outputs(run: Run, label: str, x: Tensor) -> np.ndarray:
    return run.network(label, dtype=torch.float64)(x).numpy()


def _targets(seen: ProbeSets) -> np.ndarray:
    """Of all tasks' training examples, labels one-hot: (tasks · examples, outputs)."""
    y = torch.cat(list(seen.targets.values()))
    if y.dtype == torch.long:
        y = torch.nn.functional.one_hot(y, seen.stream.outputs)
    return y.double().numpy()


def _labelled(run: Run, actual: np.ndarray, predicted: np.ndarray) -> xr.Dataset:
    names = run.probe_sets.stream.task_names
    steps = run.fact("outputs")[STEP].values
    dims = (CHECKPOINT, EVAL_TASK, EXAMPLE, OUTPUT)
    shape = (len(run.checkpoints), len(names), -1, actual.shape[-1])
    return xr.Dataset(
        {
            "actual": (dims, actual.reshape(shape)),
            "predicted": ((KERNEL, *dims), predicted.reshape(len(KERNELS), *shape)),
        },
        coords={
            KERNEL: list(KERNELS),
            CHECKPOINT: run.checkpoints,
            STEP: (CHECKPOINT, steps),
            EVAL_TASK: names,
        },
    )


def _refuse(run: Run) -> None:
    """
    Raises:
        StoreError: for training that the closed form is not of.
    """
    sets = run.probe_sets
    problem = ""
    if sets.loss.name != "squared_error":
        problem = f"trained on squared_error, found {sets.loss.name}"
    elif sets.heads is not None:
        problem = "whose tasks share all outputs, found that each task has outputs of its own"
    elif not np.isfinite(step_size(run, 1)):
        problem = f"trained by gradient descent, found the optimizer {run.spec.strategy['optimizer']}"
    if problem:
        raise StoreError(
            f"{run.path}: the closed form expected a run {problem}; take clntk.predict_forgetting or the measure "
            "forecast_departure, which follow other losses and heads step by step, or run it again with others"
        )


def _refuse_many(run: Run, examples: int) -> None:
    """
    Raises:
        StoreError: for a kernel with too many rows.
    """
    rows = examples * run.probe_sets.stream.outputs
    if rows > ROWS:
        raise StoreError(
            f"{run.path}: the closed form expected at most {ROWS} rows of a kernel, found {examples} training examples "
            f"and probes of {run.probe_sets.stream.outputs} outputs, {rows} rows; take clntk.predict_forgetting or the "
            "measure forecast_departure, which need no eigenvalues"
        )
