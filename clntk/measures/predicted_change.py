"""Predicted change: is what happens to old tasks what a first-order theory says, example by example?

Two predictions of how outputs change between neighbouring checkpoints k−1 and k, each summed over intervals:

- ``tangent``, linear in the weights: J_s (θ_k − θ_{k−1}), from the weights that training did reach. It is exact for a
  network that is linear in its weights, whatever the training; what it misses is curvature.
- ``kernel``, from the trained tasks alone: −η Σ_steps K_st ∂L_t/∂f(X_t), the residuals on the probes followed step by
  step under a kernel that does not move, with no look at where the weights went. It misses, beside curvature, that
  probes are not the training data, the noise of minibatches, and whatever a strategy adds to the loss; it is exact for
  a network that is linear in its weights, trained by gradient descent on the probes.

The ``start`` rule takes J and K as they are at the start of an interval, as a true forecast has to; the ``trapezoid``
rule takes the mean of the predictions by those at its start and at its end, and is then off by the third power of an
interval, not the second.
"""

from typing import Literal

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OUTPUT, PROBE
from clntk.errors import DataError
from clntk.registry import register

Theory = Literal["tangent", "kernel"]
Rule = Literal["start", "trapezoid"]
Since = Literal["init", "previous", "learned"]

FOLLOWED = (CHECKPOINT, EVAL_TASK, PROBE, OUTPUT)


def _integrated(change: xr.DataArray, since: Since, learned: xr.DataArray, where: str) -> xr.DataArray:
    """Changes of intervals, summed from the chosen moment to each checkpoint."""
    match since:
        case "previous":
            return change
        case "init":
            return change.cumsum(CHECKPOINT)
        case "learned":
            # the interval in which a task is first learned is not one in which it can be forgotten
            return change.where(learned, 0.0).cumsum(CHECKPOINT).where(learned)
    raise DataError(
        f"{where}, since: expected 'init', 'previous' or 'learned', found {since!r}; choose one of them"
    )


def learned_before(trained: xr.DataArray) -> xr.DataArray:
    """Whether a task was trained in an interval before this one, of shape (checkpoint, eval_task)."""
    trained = trained.transpose(CHECKPOINT, EVAL_TASK)
    seen = np.logical_or.accumulate(trained.values, axis=0)
    return trained.copy(data=seen).shift({CHECKPOINT: 1}, fill_value=False)


def changes(output_change: xr.Dataset, theory: Theory, rule: Rule, since: Since, where: str) -> xr.Dataset:
    """``actual`` and ``predicted`` changes: see :func:`predicted_output_change`."""
    if theory not in ("tangent", "kernel") or rule not in ("start", "trapezoid"):
        raise DataError(
            f"{where}: expected theory 'tangent' or 'kernel' and rule 'start' or 'trapezoid', found {theory!r} and "
            f"{rule!r}; choose one of each"
        )
    start, end = (output_change[f"{theory}_{moment}"] for moment in ("start", "end"))
    predicted = start if rule == "start" else (start + end) / 2
    learned = learned_before(output_change["trained"])
    sums = {"actual": output_change["actual"], "predicted": predicted}
    return xr.Dataset(
        {name: _integrated(x, since, learned, where).transpose(*FOLLOWED) for name, x in sums.items()}
    )


@register("measure")
def predicted_output_change(
    output_change: xr.Dataset,
    *,
    theory: Theory = "tangent",
    rule: Rule = "trapezoid",
    since: Since = "learned",
) -> xr.Dataset:
    """First-order prediction of how outputs on the probes change, beside the change that happened.

    ``predicted`` and ``actual``, each of shape (checkpoint, eval_task, probe, output), in the units of the outputs;
    without a row for initialisation. NaN for tasks not learned before, with ``since="learned"``, and where there is no
    prediction: by the kernel, for an optimizer that is not gradient descent, or steps too large for the kernel.

    Args:
        output_change: changes and predictions by interval: ``actual``, ``tangent_start``, ``tangent_end``,
            ``kernel_start``, ``kernel_end``, and which tasks were ``trained``.
        theory: ``tangent`` or ``kernel``; see :mod:`clntk.measures.predicted_change`.
        rule: ``trapezoid`` or ``start``.
        since: what changes are summed from: ``"learned"``, the end of the task's own first training, so that they are
            what others have done to it; ``"init"``; or ``"previous"``, the checkpoint before.

    Raises:
        DataError: for an option that is none of these.

    Source: Jacot et al. 2018, arXiv 1806.07572, for the dynamics of outputs under gradient descent.
    """
    return changes(output_change, theory, rule, since, "predicted_output_change")


def fit(predicted: np.ndarray, actual: np.ndarray) -> tuple[float, float, float]:
    """R², slope and correlation of changes that happened on changes predicted, of shape (points,) each.

    - R² = 1 − Σ(a − p)²/Σ(a − ā)², of the predictions as they are, without refitting: 1 if all are exact, 0 if they are
      no better than the mean change, negative if they are worse;
    - the slope of the least-squares line of a on p: above 1 where changes are larger than predicted;
    - Pearson's correlation.

    NaN for predictions that are not there, where changes do not vary but for rounding, or points are fewer than two;
    only R² is a number where predictions do not vary.
    """
    if not np.isfinite(predicted).all() or _constant(actual):
        return (float("nan"),) * 3
    from scipy.stats import linregress
    from sklearn.metrics import r2_score

    r2 = float(r2_score(actual, predicted))
    if _constant(predicted):
        return r2, float("nan"), float("nan")
    line = linregress(predicted, actual)
    return r2, float(line.slope), float(line.rvalue)


def _constant(values: np.ndarray) -> bool:
    """Whether values do not vary, but for the rounding of their mean."""
    floor = len(values) * np.finfo(np.float64).eps * np.linalg.norm(values)
    return not np.linalg.norm(values - values.mean()) > floor


@register("measure")
def prediction_fit(
    output_change: xr.Dataset,
    *,
    theory: Theory = "tangent",
    rule: Rule = "trapezoid",
    since: Since = "learned",
) -> xr.Dataset:
    """How well first-order theory predicts the change of a task's outputs: R², slope and relative error.

    Over all probes and outputs of a task; each of shape (checkpoint, eval_task), without a row for initialisation:

    - ``r2`` ≤ 1, of the predictions as they are; ``slope`` of actual on predicted; ``correlation`` in [−1, 1];
    - ``relative_error``: ‖predicted − actual‖/‖actual‖, ≥ 0; 1 for a prediction of no change.

    NaN where nothing changed or, with ``since="learned"``, a task was not learned before.

    Args:
        output_change: see :func:`predicted_output_change`.
        theory: ``tangent`` or ``kernel``; see :mod:`clntk.measures.predicted_change`.
        rule: ``trapezoid`` or ``start``.
        since: ``"learned"``, ``"init"`` or ``"previous"``.

    Raises:
        DataError: for an option that is none of these.

    Source: Jacot et al. 2018, arXiv 1806.07572, for the dynamics that the fit is of: :func:`fit`.
    """
    found = changes(output_change, theory, rule, since, "prediction_fit")
    actual, predicted = (found[name].values for name in ("actual", "predicted"))
    actual, predicted = (values.reshape(*values.shape[:2], -1) for values in (actual, predicted))
    fits = [[fit(p, a) for p, a in zip(*row, strict=True)] for row in zip(predicted, actual, strict=True)]
    moved = np.linalg.norm(actual, axis=-1)
    missed = np.linalg.norm(predicted - actual, axis=-1)
    error = np.divide(missed, moved, out=np.full(moved.shape, np.nan), where=moved > 0)
    columns = [*np.moveaxis(np.asarray(fits), -1, 0), error]
    like = found["actual"].isel({PROBE: 0, OUTPUT: 0}, drop=True)
    names = ("r2", "slope", "correlation", "relative_error")
    return xr.Dataset({name: like.copy(data=c) for name, c in zip(names, columns, strict=True)})
