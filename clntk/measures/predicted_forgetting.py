"""Predicted forgetting: which examples lose, by first-order theory and in fact."""

import numpy as np
import xarray as xr

from clntk.axes import EVAL_TASK, OUTPUT, PROBE
from clntk.measures.predicted_change import FOLLOWED, Rule, Theory, changes, learned_before
from clntk.measures.stimuli import TARGETS
from clntk.registry import register

HEADS = "heads"


def example_losses(outputs: np.ndarray, targets: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Cross-entropy of labels, ½‖f − y‖² of float targets, by outputs inside the head.

    Args:
        outputs: shape (..., task, probe, output).
        targets: labels of shape (task, probe), or values of shape (task, probe, output).
        head: whether a task may use an output: (task, output).

    Returns:
        shape (..., task, probe), ≥ 0.
    """
    inside = head[:, None, :]
    if targets.dtype.kind == "f":
        return 0.5 * np.where(inside, (outputs - targets) ** 2, 0.0).sum(axis=-1)
    from scipy.special import logsumexp

    labels = np.broadcast_to(targets[..., None], (*outputs.shape[:-1], 1))
    own = np.take_along_axis(outputs, labels, axis=-1)[..., 0]
    return logsumexp(np.where(inside, outputs, -np.inf), axis=-1) - own


@register("measure")
def predicted_forgetting(
    output_change: xr.Dataset,
    probes: xr.Dataset,
    *,
    theory: Theory = "tangent",
    rule: Rule = "trapezoid",
) -> xr.Dataset:
    """How much loss every probe of a learned task has gained, by a first-order prediction and in fact.

    The loss at outputs f(θ_l) + Δf less that at f(θ_l), at the end l of the task's own first training, with Δf
    predicted or as it was: cross-entropy of labels, ½‖f − y‖² of float targets, whichever loss was trained on, by the
    outputs in the task's head. ``predicted`` and ``actual`` have shape (checkpoint, eval_task, probe); negative where
    an example gained. NaN for tasks not learned before, and where there is no prediction. The numbers per run are the
    means over learned tasks and probes at the last checkpoint.

    Args:
        output_change: see :func:`clntk.measures.predicted_change.predicted_output_change`, with the outputs ``before``
            each interval.
        probes: the probe sets, with ``targets`` of eval_task × probe, and ``heads``, which outputs a task may use.
        theory: ``tangent`` or ``kernel``; see :mod:`clntk.measures.predicted_change`.
        rule: ``trapezoid`` or ``start``.

    Raises:
        DataError: for an option that is none of these.
    """
    found = changes(output_change, theory, rule, "learned", "predicted_forgetting")
    tasks = found[EVAL_TASK].values
    probes = probes.sel({EVAL_TASK: tasks})
    head = probes[HEADS].transpose(EVAL_TASK, OUTPUT).values
    targets = probes[TARGETS].transpose(EVAL_TASK, PROBE, ...).values
    first = learned_before(output_change["trained"]).values.argmax(axis=0)
    before = output_change["before"].transpose(*FOLLOWED).values[first, np.arange(len(tasks))]
    learned = example_losses(before, targets, head)
    like = found["actual"].isel({OUTPUT: 0}, drop=True)
    return xr.Dataset(
        {
            name: like.copy(data=example_losses(before + change.values, targets, head) - learned)
            for name, change in found.data_vars.items()
        }
    )
