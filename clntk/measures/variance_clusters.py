"""Do units fall into clusters by the task in which they vary?"""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import CHECKPOINT, LAYER, UNIT
from clntk.measures.bimodality import dip_test
from clntk.measures.tuning.recorded import task_variance
from clntk.registry import register

ONE_TASK = 0.9  # |fractional task variance| from which a unit counts as of one task


@register("measure")
def variance_clusters(
    activations: Mapping[str, xr.DataArray],
    *,
    null: Annotated[int, Field(ge=1)] = 1000,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> xr.Dataset:
    """Whether the fractional task variances of hidden units have several modes, and how many units are at the ends.

    Of each layer at each checkpoint (checkpoint, layer), for the first two tasks:

    - ``one_task``: the fraction of live units whose fractional task variance is beyond ±.9: they vary in one task;
    - ``dip``, ``dip_p``: the dip test of unimodality of the fractional task variances; a small p says that units fall
      into clusters. NaN for fewer than four live units.

    The numbers per run are means over layers, at the last checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        null: samples of the null of the dip.
        seed: of them.

    Raises:
        DataError: if there are no layers, fewer than two tasks, or activations that are not finite.

    Source: Yang et al. 2019, Nat Neurosci 22:297 (fractional task variance); Hartigan & Hartigan 1985 (dip).
    """
    found = task_variance(activations)["fractional_task_variance"].transpose(CHECKPOINT, UNIT, ...)[..., 0, 1]
    rows = []
    for layer in activations:
        values = found.values[:, found[LAYER].values == layer]
        live = [row[np.isfinite(row)] for row in values]
        tests = [dip_test(row, draws=null, seed=seed) for row in live]
        ends = [np.mean(np.abs(row) >= ONE_TASK) if row.size else np.nan for row in live]
        columns = {"one_task": ends, "dip": [t[0] for t in tests], "dip_p": [t[1] for t in tests]}
        coords = dict(found[CHECKPOINT].coords)
        rows.append(xr.Dataset({k: (CHECKPOINT, v) for k, v in columns.items()}, coords=coords))
    return xr.concat(
        rows, dim=xr.Variable(LAYER, list(activations)), coords="minimal", compat="override"
    ).transpose(CHECKPOINT, LAYER)
