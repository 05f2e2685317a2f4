"""One number per run: the stated rule by which a measure's result enters a table or a statistic.

A measure that the rule does not suit registers a ``scalar`` of its own, which first narrows the result down
(to one parameter, to pairs of different tasks, to a mean over checkpoints); the rule then takes what is left.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT

Result = xr.DataArray | xr.Dataset
SameKind = TypeVar("SameKind", xr.DataArray, xr.Dataset)  # of functions that give back what they are given

NUMERIC_KINDS = "biuf"  # NumPy's letters for bool, signed, unsigned and floating


def _number(values: xr.DataArray) -> float:
    """The last checkpoint, if there are any, then the mean over everything else, ignoring NaN."""
    if CHECKPOINT in values.dims:
        # a slice, so that a result without checkpoints is a NaN and not an error
        values = values.isel({CHECKPOINT: slice(-1, None)})
    flat = values.values.astype(np.float64).ravel()
    known = flat[~np.isnan(flat)]
    return float(known.mean()) if known.size else float("nan")


def scalars(name: str, result: Result, scalar: Callable[[Result], Result] | None = None) -> dict[str, float]:
    """The numbers that stand for a measure's result in one run.

    The rule: the last checkpoint, if there is a checkpoint dimension; the mean over all other dimensions,
    ignoring NaN, and NaN if nothing else is there; of booleans, the fraction that is true; text has no number
    and is left out.

    Args:
        name: the measure's name.
        result: what the measure returned.
        scalar: the measure's own trait of that name, applied before the rule.

    Returns:
        ``{name: number}`` for an array, ``{"name.variable": number, ...}`` for a dataset, in its order.
    """
    if scalar is not None:
        result = scalar(result)
    if isinstance(result, xr.Dataset):
        arrays = {f"{name}.{variable}": values for variable, values in result.data_vars.items()}
    else:
        arrays = {name: result}
    return {key: _number(values) for key, values in arrays.items() if values.dtype.kind in NUMERIC_KINDS}
