"""Performance: how well every task is solved after every phase of training.

All measures here read ``metrics``, with dimensions (checkpoint, eval_task); the result drops the ``"init"``
row, because nothing has been learned there. R[k, j] is the test accuracy on task j after phase k, in [0, 1]. Measures
with the trait ``answers`` count right answers, which float targets without a rule do not have.
"""

from typing import Literal

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, INIT
from clntk.errors import DataError
from clntk.measures.laziness import refuse_without_init
from clntk.registry import register


def _phases(metrics: xr.Dataset) -> xr.Dataset:
    """The rows after training phases, in order: everything but ``"init"``."""
    refuse_without_init(metrics, "metrics")
    if metrics.sizes[CHECKPOINT] < 2:
        raise DataError(
            f"metrics: expected a checkpoint for every training phase, found {INIT!r} alone; "
            "record metrics at the end of every phase"
        )
    return metrics.isel({CHECKPOINT: slice(1, None)}).transpose(CHECKPOINT, EVAL_TASK)


def _seen(phases: xr.Dataset) -> xr.DataArray:
    """Whether a task was trained in this phase or an earlier one."""
    trained = phases["trained"]
    return trained.copy(data=np.logical_or.accumulate(trained.values, axis=0))


def _learned_before(phases: xr.Dataset) -> xr.DataArray:
    """Whether a task was trained in an earlier phase."""
    return _seen(phases).shift({CHECKPOINT: 1}, fill_value=False)


Of = Literal["accuracy", "loss"]


def _score(phases: xr.Dataset, of: Of) -> xr.DataArray:
    """Test accuracy, or the negative test loss: the more the better."""
    return phases["test_accuracy"] if of == "accuracy" else -phases["test_loss"]


def _just_trained(metrics: xr.Dataset, variable: str) -> xr.DataArray:
    """``variable`` at the end of each phase, averaged over the tasks of that phase."""
    phases = _phases(metrics)
    return phases[variable].where(phases["trained"]).mean(EVAL_TASK)


def _over_checkpoints(result: xr.DataArray) -> xr.DataArray:
    """The mean over all phases: each of them is one sample of how training a task ends."""
    return result.mean(CHECKPOINT)


@register("measure", answers=True)
def accuracy_matrix(metrics: xr.Dataset) -> xr.DataArray:
    """Test accuracy on every task after every training phase.

    Shape (checkpoint, eval_task); a fraction in [0, 1]; tasks not yet trained are included.

    Raises:
        DataError: if the checkpoints are not ``"init"`` and at least one phase.

    Source: R of Lopez-Paz & Ranzato 2017, "Gradient episodic memory".
    """
    return _phases(metrics)["test_accuracy"].rename("accuracy_matrix")


@register("measure", answers=True)
def average_accuracy(metrics: xr.Dataset) -> xr.DataArray:
    """Mean test accuracy over the tasks trained so far.

    Shape (checkpoint,); a fraction in [0, 1]; NaN as long as no task has been trained.

    Raises:
        DataError: if the checkpoints are not ``"init"`` and at least one phase.

    Source: at the last checkpoint, the ACC of Lopez-Paz & Ranzato 2017.
    """
    phases = _phases(metrics)
    return phases["test_accuracy"].where(_seen(phases)).mean(EVAL_TASK).rename("average_accuracy")


@register("measure", answers=True)
def forgetting(metrics: xr.Dataset, *, of: Of = "accuracy") -> xr.DataArray:
    """How far accuracy on a task learned earlier has fallen below its best: max_{l<k} R[l, j] − R[k, j].

    With ``of="loss"``, how far the test loss has risen above its lowest, in the units of the loss: for streams whose
    targets have no accuracy.

    The maximum is over the phases 1 .. k−1, those before task j was trained among them; initialisation is not
    one of them. Shape (checkpoint, eval_task); in [−1, 1], negative where accuracy is better than ever
    before; NaN for tasks not trained before phase k, hence everywhere in a joint run.

    Raises:
        DataError: if the checkpoints are not ``"init"`` and at least one phase.

    Source: f_j^k of Chaudhry et al. 2018, "Riemannian walk for incremental learning".
    """
    phases = _phases(metrics)
    score = _score(phases, of)
    best = score.copy(data=np.maximum.accumulate(score.values, axis=0)).shift({CHECKPOINT: 1})
    return (best - score).where(_learned_before(phases)).rename("forgetting")


@register("measure", answers=True)
def backward_transfer(metrics: xr.Dataset, *, of: Of = "accuracy") -> xr.DataArray:
    """How accuracy on a task learned earlier has changed since it was first trained: R[k, i] − R[i, i].

    With ``of="loss"``, how far the test loss has fallen since, in the units of the loss.

    Shape (checkpoint, eval_task); in [−1, 1], negative where the task was forgotten; NaN for tasks not
    trained before phase k, hence everywhere in a joint run. Of a task trained more than once, the first time
    counts.

    Raises:
        DataError: if the checkpoints are not ``"init"`` and at least one phase.

    Source: the terms of BWT of Lopez-Paz & Ranzato 2017; their mean over tasks at the last checkpoint is BWT.
    """
    phases = _phases(metrics)
    score = _score(phases, of)
    first = np.argmax(phases["trained"].values, axis=0)
    when_first_trained = score.values[first, np.arange(score.sizes[EVAL_TASK])]
    return (score - when_first_trained).where(_learned_before(phases)).rename("backward_transfer")


@register("measure", scalar=_over_checkpoints)
def final_train_loss(metrics: xr.Dataset) -> xr.DataArray:
    """Training loss on the tasks just trained, at the end of their phase: were regimes matched in loss?

    Shape (checkpoint,); in the units of the loss; the mean over the tasks of the phase, NaN where a
    checkpoint ends none. Its number per run is the mean over all checkpoints, not the last one alone.

    Raises:
        DataError: if the checkpoints are not ``"init"`` and at least one phase.
    """
    return _just_trained(metrics, "train_loss").rename("final_train_loss")


@register("measure", answers=True, scalar=_over_checkpoints)
def learning_accuracy(metrics: xr.Dataset) -> xr.DataArray:
    """Test accuracy on the tasks just trained, at the end of their phase: could the network still learn?

    Shape (checkpoint,); a fraction in [0, 1]; the mean over the tasks of the phase, NaN where a checkpoint
    ends none. Its number per run is the mean over all checkpoints, not the last one alone.

    Raises:
        DataError: if the checkpoints are not ``"init"`` and at least one phase.

    Source: LA of Riemer et al. 2019, "Learning to learn without forgetting".
    """
    return _just_trained(metrics, "test_accuracy").rename("learning_accuracy")
