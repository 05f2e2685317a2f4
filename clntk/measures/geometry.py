"""Dimension: over how many directions the activity of a population is spread.

First functions of plain arrays, then the measures. With fewer examples than units the number of examples bounds
every dimension: N patterns span at most N − 1 directions about their mean, so compare conditions at equal N.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import EVAL_TASK
from clntk.errors import DataError
from clntk.measures import population
from clntk.measures.population import by_layer, joint, patterns
from clntk.registry import register

COMPONENT = "component"  # dimension of principal components, counted from 1
SHOWN = 3  # components in the number per run, as Flesch et al. 2022 report them


def spectrum(activations: Any, *, centred: bool = True) -> np.ndarray:
    """Eigenvalues of the covariance of activations, largest first.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        centred: about the mean pattern, divided by N − 1. Otherwise about zero, divided by N.

    Returns:
        shape (min(examples, units),), ≥ 0, in squared units of activity; all zero for activations that do not vary,
        as those of a single example.

    Raises:
        DataError: for activations that are not two-dimensional, empty, or not finite.
    """
    return _spectrum(patterns(activations, "spectrum, activations"), centred)


def _spectrum(values: np.ndarray, centred: bool = True) -> np.ndarray:
    """The eigenvalues of patterns of shape (..., examples, units), from the smaller of Gram matrix and covariance.

    Singular values would be more exact than is needed here, and for many small arrays they are a hundred times slower
    as soon as other programs keep the threads of LAPACK waiting for each other.
    """
    n, units = values.shape[-2:]
    about = population.centred(values) if centred else values
    turned = about.swapaxes(-1, -2)
    squares = about @ turned if n <= units else turned @ about
    return np.maximum(np.linalg.eigvalsh(squares)[..., ::-1], 0.0) / (max(n - 1, 1) if centred else n)


def _shares(eigenvalues: Any) -> np.ndarray:
    """Eigenvalues over their sum along the last axis, NaN where all are zero; what rounding left below zero is zero."""
    values = np.asarray(eigenvalues, dtype=np.float64)
    lowest, largest = values.min(axis=-1, initial=0.0), np.abs(values).max(axis=-1, initial=0.0)
    if not np.all(lowest >= -1e-9 * largest):  # NaN fails, too
        raise DataError(
            f"eigenvalues: expected finite numbers that are not negative, found a lowest one of {values.min()}; "
            "pass the spectrum of a covariance or of a kernel"
        )
    values = np.maximum(values, 0.0)
    total = values.sum(axis=-1, keepdims=True)
    return np.divide(values, total, out=np.full(values.shape, np.nan), where=total > 0)


def participation_ratio(eigenvalues: Any) -> np.ndarray:
    """Participation ratio (Σλ)²/Σλ² of eigenvalues of shape (..., n).

    Shape (...); in [1, n]: n if all eigenvalues are equal, 1 if only one is not zero; NaN if all are zero.

    Raises:
        DataError: for negative eigenvalues or NaN.

    Source: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement".
    """
    return 1.0 / (_shares(eigenvalues) ** 2).sum(axis=-1)


def effective_rank(eigenvalues: Any) -> np.ndarray:
    """Effective rank exp(−Σ p ln p) with p = λ/Σλ, of eigenvalues of shape (..., n).

    Shape (...); in [1, n], at least the participation ratio; NaN if all eigenvalues are zero.

    Raises:
        DataError: for negative eigenvalues or NaN.

    Source: Roy & Vetterli 2007, "The effective rank".
    """
    from scipy.special import entr

    return np.exp(entr(_shares(eigenvalues)).sum(axis=-1))


def cumulative_variance(eigenvalues: Any) -> np.ndarray:
    """Share of the variance that the first 1, 2, … n components hold together.

    Shape (..., n), of eigenvalues in descending order; in [0, 1] and rising to 1; NaN if all eigenvalues are zero.

    Raises:
        DataError: for negative eigenvalues or NaN.
    """
    return np.minimum(np.cumsum(_shares(eigenvalues), axis=-1), 1.0)


@register("measure")
def dimensionality(activations: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Participation ratio and effective rank of hidden activity, for each task and for all tasks together.

    Of the covariance about the mean pattern, on the probe sets; ``participation_ratio`` and ``effective_rank`` have
    shape (checkpoint, layer, eval_task), ``joint_participation_ratio`` and ``joint_effective_rank`` (checkpoint,
    layer), about the mean over all tasks. In [1, min(probes − 1, units)], and with all tasks' probes for the joint
    ones; NaN where activity does not vary, as with a single probe or in a dead layer. The numbers per run are those
    of the last checkpoint, averaged over layers and tasks.

    Raises:
        DataError: if there are no layers, or activations that are not finite.

    Source: Gao et al. 2017 (participation ratio), Roy & Vetterli 2007 (effective rank).
    """

    def measured(values: np.ndarray) -> population.Columns:
        own, together = _spectrum(values), _spectrum(joint(values))
        return {
            "participation_ratio": ((EVAL_TASK,), participation_ratio(own)),
            "effective_rank": ((EVAL_TASK,), effective_rank(own)),
            "joint_participation_ratio": ((), participation_ratio(together)),
            "joint_effective_rank": ((), effective_rank(together)),
        }

    return by_layer(activations, measured)


def _first_components(result: xr.Dataset) -> xr.Dataset:
    """What the first three components hold, or all that were asked for."""
    return result.isel({COMPONENT: min(SHOWN, result.sizes[COMPONENT]) - 1})


@register("measure", scalar=_first_components)
def explained_variance(
    activations: Mapping[str, xr.DataArray],
    *,
    components: Annotated[int, Field(ge=1)] = 10,
    centred: bool = True,
) -> xr.Dataset:
    """Cumulative share of the variance of hidden activity that the leading principal components hold.

    ``own`` has shape (checkpoint, layer, eval_task, component), ``joint`` (checkpoint, layer, component), of all
    tasks' patterns together; in [0, 1], 1 from as many components on as there are; NaN where activity does not vary.
    The numbers per run are the shares of the first three components at the last checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        components: how many of them.
        centred: about the mean pattern; otherwise about zero, as Flesch et al. 2022 do.

    Raises:
        DataError: if there are no layers, or activations that are not finite.

    Source: Flesch et al. 2022, who report the first three components, uncentred.
    """

    def curve(values: np.ndarray) -> np.ndarray:
        shares = cumulative_variance(_spectrum(values, centred))[..., :components]
        missing = [(0, 0)] * (shares.ndim - 1) + [(0, components - shares.shape[-1])]
        return np.pad(shares, missing, mode="edge")

    def measured(values: np.ndarray) -> population.Columns:
        return {
            "own": ((EVAL_TASK, COMPONENT), curve(values)),
            "joint": ((COMPONENT,), curve(joint(values))),
        }

    return by_layer(activations, measured, {COMPONENT: np.arange(1, components + 1)})
