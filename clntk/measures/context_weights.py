"""Weights from the inputs that tell the context: does one network gate its units by it?"""

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT
from clntk.errors import DataError
from clntk.registry import register

CONTEXT = "context"  # how streams call the group of inputs that tell the task


@register("measure")
def context_correlation(weights: Mapping[str, xr.DataArray], probes: xr.Dataset) -> xr.DataArray:
    """Correlation, over units of the first layer, of their weights from the two context inputs.

    Shape (checkpoint,); in [−1, 1]: −1 where what pushes a unit up in one context pushes it down in the other, 0 where
    they are independent. Of more than two contexts the mean over pairs. NaN where weights do not vary over units.

    Args:
        weights: parameter → checkpoint × its own dimensions.
        probes: the probe sets, whose attributes say which inputs tell the context.

    Raises:
        DataError: for a stream without inputs for two contexts or more, or a network without a linear layer that reads
            the inputs.

    Source: Flesch et al. 2022, Neuron 110:1258 (contexts in opposition).
    """
    groups = json.loads(probes.attrs.get("input_groups", "{}"))
    first, end = groups.get(CONTEXT, (0, 0))
    if end - first < 2:
        found = (
            f"{CONTEXT} with {end - first} input" if CONTEXT in groups else ", ".join(groups) or "no groups"
        )
        raise DataError(
            f"context_correlation: expected inputs that tell the context, one for each of two or more, found {found}; "
            "give the stream a cue (stream.cue)"
        )
    features = int(np.prod(probes["inputs"].shape[2:]))
    layers = [w for w in weights.values() if w.ndim == 3 and w.shape[2] == features]
    if not layers:
        raise DataError(
            f"context_correlation: expected a linear layer of {features} inputs, found none; it is for networks such "
            "as mlp"
        )
    means = [_mean_correlation(w[:, first:end]) for w in layers[0].transpose(CHECKPOINT, ...).values]
    coords = layers[0][CHECKPOINT].coords
    return xr.DataArray(means, dims=[CHECKPOINT], coords=coords, name="context_correlation")


def _mean_correlation(weights: np.ndarray) -> float:
    """Of weights (units, contexts): the mean over pairs of contexts."""
    if (weights.std(axis=0) == 0).any():
        return float("nan")
    table = np.asarray(np.corrcoef(weights.astype(np.float64), rowvar=False))
    return float(table[np.triu_indices(len(table), 1)].mean())
