"""Laziness: how far the weights have moved from where they began."""

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, INIT, PARAM
from clntk.errors import DataError
from clntk.registry import register

ALL = "all"  # the row of all parameters taken together


def refuse_without_init(facts: xr.Dataset | xr.DataArray, where: str) -> None:
    """Raise a :class:`DataError` if the first checkpoint of ``facts`` is not ``"init"``."""
    labels = [str(label) for label in facts[CHECKPOINT].values]
    if labels[:1] != [INIT]:
        raise DataError(
            f"{where}: expected the first checkpoint to be {INIT!r}, found the checkpoints {labels}; "
            "changes are measured from initialisation, so record there too"
        )


def _squared_norms(weights: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """‖θ_k−θ_0‖² of shape (checkpoint, param) and ‖θ_0‖² of shape (param,), one column a parameter."""
    moved, start = [], []
    for values in weights.data_vars.values():
        # float64, since squares of small float32 differences lose what is to be measured
        flat = (
            values.transpose(CHECKPOINT, ...).values.astype(np.float64).reshape(values.sizes[CHECKPOINT], -1)
        )
        moved.append(((flat - flat[0]) ** 2).sum(axis=1))
        start.append((flat[0] ** 2).sum())
    return np.stack(moved, axis=1), np.stack(start)


def _all_at_the_end(result: xr.DataArray) -> xr.DataArray:
    """The last checkpoint, over all parameters together."""
    return result.sel({PARAM: ALL}).isel({CHECKPOINT: -1})


@register("measure", scalar=_all_at_the_end)
def relative_weight_change(weights: xr.Dataset) -> xr.DataArray:
    """Distance of the weights from initialisation, relative to their norm there: ‖θ_k−θ_0‖/‖θ_0‖.

    It is the norm of the difference, never the difference of the norms. Shape (checkpoint, param), where
    param is ``"all"`` (the norms over all parameters together) and then every parameter; without unit, ≥ 0,
    zero at initialisation. A parameter that starts at zero, as many biases do, has no relative change: its
    own row is NaN, and it still counts in ``"all"``. The number per run is ``"all"`` at the last checkpoint.

    Raises:
        DataError: if there are no parameters, or the first checkpoint is not ``"init"``.

    Source: Chizat et al. 2019, "On lazy training in differentiable programming".
    """
    if not weights.data_vars:
        raise DataError(
            "weights: expected at least one parameter, found none; record the weights at every checkpoint"
        )
    refuse_without_init(weights, "weights")
    moved, start = _squared_norms(weights)
    moved = np.concatenate([moved.sum(axis=1, keepdims=True), moved], axis=1)
    start = np.concatenate([start.sum(keepdims=True), start])
    change = np.full(moved.shape, np.nan)
    np.divide(np.sqrt(moved), np.sqrt(start), out=change, where=start > 0)
    return xr.DataArray(
        change,
        dims=(CHECKPOINT, PARAM),
        coords=dict(weights[CHECKPOINT].coords) | {PARAM: [ALL, *map(str, weights.data_vars)]},
        name="relative_weight_change",
    )
