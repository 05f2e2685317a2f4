"""Kernel forecasts: is what a network forgets what a kernel that does not move says it would?"""

from typing import Literal

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OUTPUT, PROBE
from clntk.measures.closed_form import norm
from clntk.measures.predicted_change import learned_before
from clntk.measures.predicted_forgetting import HEADS, example_losses
from clntk.measures.stimuli import TARGETS
from clntk.registry import register

KERNEL = "kernel"  # the dimension of the kernels that a forecast is made by
KERNELS = ("init", "task start")
Kernel = Literal["init", "task start"]

_PHASES = (CHECKPOINT, EVAL_TASK)


def judged(kernel_forecast: xr.Dataset, probes: xr.Dataset) -> xr.Dataset:
    """Losses, forgetting and departure by both kernels, beside those of the network.

    Args:
        kernel_forecast: see :func:`clntk.runs.kernel_forecast.kernel_forecast`; its attribute ``loss`` names the loss.
        probes: the probe sets, with ``targets`` of eval_task × probe, and ``heads``, which outputs a task may use.

    Returns:
        ``trained`` and ``actual`` (checkpoint, eval_task); ``predicted``, ``predicted_forgetting``,
        ``actual_forgetting`` and ``departure`` with ``kernel`` too: the columns of
        :func:`clntk.predict_forgetting`, which says what they are.
    """
    trained = kernel_forecast["trained"].transpose(*_PHASES)
    learned, first = learned_before(trained).values, trained.values.argmax(axis=0)
    columns = np.arange(trained.sizes[EVAL_TASK])
    predicted, actual = (_losses(kernel_forecast, probes, name) for name in ("predicted", "actual"))
    known = xr.where(kernel_forecast[KERNEL] == "init", predicted, actual).transpose(KERNEL, *_PHASES)
    grown = {
        "predicted_forgetting": predicted - known.values[:, None, first, columns],
        "actual_forgetting": actual - actual.values[first, columns],
    }
    return xr.Dataset(
        {
            "trained": trained,
            "predicted": predicted,
            "actual": actual,
            **{name: values.where(learned) for name, values in grown.items()},
            "departure": _departure(kernel_forecast),
        }
    )


@register("measure")
def forecast_departure(kernel_forecast: xr.Dataset, *, kernel: Kernel = "init") -> xr.DataArray:
    """How far outputs are from where a kernel that does not move takes them, over how far they moved.

    ‖f̂ − f‖/‖f − f₀‖ over the probes of a task, with f₀ the outputs that the prediction starts from: 0 is exact, 1 as
    wrong as to predict no change. Shape (checkpoint, eval_task), ≥ 0, without a row for initialisation; NaN where
    nothing moved, or there is no prediction.

    Args:
        kernel_forecast: outputs as kernels predict them, and as they were; see
            :func:`clntk.runs.kernel_forecast.kernel_forecast`.
        kernel: ``init``, the kernel at initialisation, for the whole sequence of tasks; or ``task start``, that at the
            start of each phase, from the outputs that the network had there.

    Source: Jacot et al. 2018, arXiv 1806.07572, for the prediction.
    """
    return _departure(kernel_forecast).sel({KERNEL: kernel}, drop=True)


@register("measure")
def forecast_forgetting(
    kernel_forecast: xr.Dataset, probes: xr.Dataset, *, kernel: Kernel = "init"
) -> xr.Dataset:
    """What old tasks lose as a kernel that does not move predicts it, beside what they lost.

    - ``predicted``, ``actual`` (checkpoint, eval_task): by how much the loss on a task's probes has grown since the end
      of the task's first phase; NaN for tasks not learned before. In the units of the loss: ½‖f − y‖² where the run
      was trained on squared errors or has float targets, else cross-entropy.
    - ``error`` (checkpoint,): ‖predicted − actual‖/‖actual‖ over tasks learned before, ≥ 0.

    NaN where there is no prediction.

    Args:
        kernel_forecast: as of :func:`forecast_departure`.
        probes: the probe sets, with ``targets`` of eval_task × probe, and ``heads``, which outputs a task may use.
        kernel: as of :func:`forecast_departure`.

    Source: Bennani et al. 2020, arXiv 2006.11942, theorems 1 and 2.
    """
    found = judged(kernel_forecast, probes).sel({KERNEL: kernel}, drop=True)
    predicted, actual = found["predicted_forgetting"], found["actual_forgetting"]
    missed, lost = (norm(x, [EVAL_TASK], min_count=1) for x in (predicted - actual, actual))
    return xr.Dataset({"predicted": predicted, "actual": actual, "error": missed / lost.where(lost > 0)})


def _losses(kernel_forecast: xr.Dataset, probes: xr.Dataset, name: str) -> xr.DataArray:
    """Mean losses on the probes: (…, checkpoint, eval_task)."""
    f = kernel_forecast[name].transpose(..., *_PHASES, PROBE, OUTPUT)
    probes = probes.sel({EVAL_TASK: f[EVAL_TASK].values})
    targets = probes[TARGETS].transpose(EVAL_TASK, PROBE, ...).values
    if kernel_forecast.attrs["loss"].endswith("squared_error") and targets.ndim == 2:
        targets = (targets[..., None] == np.arange(f.sizes[OUTPUT])).astype(float)
    losses = example_losses(f.values, targets, probes[HEADS].transpose(EVAL_TASK, OUTPUT).values)
    return f.isel({PROBE: 0, OUTPUT: 0}, drop=True).copy(data=losses.mean(axis=-1))


def _departure(kernel_forecast: xr.Dataset) -> xr.DataArray:
    off, moved = (
        norm(kernel_forecast[end] - kernel_forecast[begin], [PROBE, OUTPUT], skipna=False)
        for begin, end in (("predicted", "actual"), ("start", "actual"))
    )
    return (off / moved.where(moved > 0)).transpose(KERNEL, *_PHASES)
