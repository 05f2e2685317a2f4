"""One entry of what a measure gives, by its labels."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from clntk.axes import CHECKPOINT
from clntk.errors import DataError, did_you_mean
from clntk.registry import register
from clntk.stats.findings.chosen import Measure, one_condition, written_out

if TYPE_CHECKING:
    import xarray as xr

    from clntk.runs.runset import RunSet


@register("finding", example={"measure": "accuracy_matrix", "at": {"eval_task": "A"}})
def entry(
    runs: "RunSet",
    *,
    measure: Measure,
    at: dict[str, Any],
    over: dict[str, Any] | None = None,
    value: str | None = None,
    where: dict[str, Any] | None = None,
) -> np.ndarray:
    """One entry of a measure in one condition, or the mean of what its labels leave; or the ratio of two.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        at: dimension → label, such as ``{eval_task: A}``; a checkpoint is the last one unless it is named.
        over: other labels: the entry is divided by that which they name.
        value: which of its variables, where it has several.
        where: the condition: regime or swept key → its value.

    Returns:
        One number a seed, in the measure's units or a ratio; NaN where the entry is, or is divided by 0.

    Raises:
        DataError: for settings that no run has or that leave several conditions, an unknown ``value``, dimension or
            label.
        StoreError: if a run did not record what the measure needs.
    """
    chosen = one_condition(runs, where)
    named = written_out(measure)

    def found(labels: dict[str, Any]) -> np.ndarray:
        by_seed = {
            run.spec.seed: _entry(runs.result(run, named), labels, value, named["name"]) for run in chosen
        }
        return np.array([by_seed[seed] for seed in sorted(by_seed)])

    if over is None:
        return found(at)
    lower = found(over)
    return np.divide(found(at), lower, out=np.full(len(lower), np.nan), where=lower != 0)


def _entry(result: "xr.DataArray | xr.Dataset", at: dict[str, Any], value: str | None, name: str) -> float:
    if hasattr(result, "data_vars"):  # as a dataset's
        known = list(result.data_vars)
        wanted = value or (known[0] if len(known) == 1 else name)
        found = _looked_up(result.data_vars, wanted, f"{name}, value")
    else:
        found = cast("xr.DataArray", result)
    labelled = {dim: found[dim].values for dim in found.dims}
    last = {CHECKPOINT: labelled[CHECKPOINT][-1]} if CHECKPOINT in labelled else {}
    for dim, label in (last | at).items():
        labels = _looked_up(labelled, dim, f"{name}, at")
        position = _looked_up(
            {str(each): i for i, each in enumerate(labels)}, str(label), f"{name}, at {dim}"
        )
        found = found.isel({dim: position})
    return float(np.nanmean(found.values)) if np.isfinite(found.values).any() else float("nan")


def _looked_up(known: Any, name: Any, where: str) -> Any:
    if name not in known:
        raise DataError(
            f"{where}: expected one of {', '.join(map(str, known))}, found {name!r}; "
            f"{did_you_mean(str(name), map(str, known)) or 'choose one of them'}"
        )
    return known[name]
