"""How soon a network has learned."""

from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import STEP
from clntk.registry import register


@register("measure", answers=True)
def steps_to_accuracy(
    losses: xr.Dataset, *, accuracy: Annotated[float, Field(gt=0, le=1)] = 1.0
) -> xr.DataArray:
    """The first optimizer step whose minibatch was answered this well, before the step was taken.

    One number, counted from 1 over the whole run; NaN if none was. With full batches it is the step at which the
    training accuracy was reached; with minibatches a lucky one is enough, so ask for it where batches are whole.

    Args:
        losses: loss and accuracy of every minibatch, by step.
        accuracy: how well.

    Source: Flesch et al. 2022, Neuron 110:1258 (steps to ceiling).
    """
    reached = np.flatnonzero(losses["accuracy"].values >= accuracy - 1e-6)
    step = losses[STEP].values[reached[0]] if reached.size else np.nan
    return xr.DataArray(float(step), name="steps_to_accuracy")
