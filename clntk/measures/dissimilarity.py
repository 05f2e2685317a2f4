"""Representational dissimilarity matrices (RDMs): the distances between all pairs of patterns, and their regression."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from clntk.errors import DataError
from clntk.measures.population import patterns

MODEL = "model"  # dimension of model RDMs
R_SQUARED = "r_squared"
Metric = Literal["euclidean", "correlation"]


def rdm(activations: Any, *, metric: Metric = "euclidean") -> np.ndarray:
    """Distances between all pairs of patterns.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        metric: ``"euclidean"``, in units of activity; or ``"correlation"``, 1 − Pearson's r over units, in [0, 2],
            NaN for a pattern that is the same in all units.

    Returns:
        shape (examples, examples), symmetric, zero on the diagonal.

    Raises:
        DataError: for activations that are not two-dimensional, empty, or not finite, and an unknown metric.

    Source: Kriegeskorte et al. 2008, "Representational similarity analysis".
    """
    from scipy.spatial.distance import pdist, squareform

    values = patterns(activations, "rdm, activations")
    if metric == "euclidean":
        return squareform(pdist(values))
    if metric != "correlation":
        raise DataError(f"rdm, metric: expected 'euclidean' or 'correlation', found {metric!r}")
    flat = np.ptp(values, axis=1) == 0
    distances = squareform(pdist(np.where(flat[:, None], np.arange(values.shape[1]), values), metric))
    distances[flat], distances[:, flat] = np.nan, np.nan
    np.fill_diagonal(distances, 0.0)
    return distances


def rdm_regression(observed: Any, models: Mapping[str, Any]) -> xr.Dataset:
    """Multiple regression of an RDM on model RDMs, over z-scored lower triangles.

    Args:
        observed: shape (examples, examples), as of :func:`rdm`.
        models: name → model RDM of the same shape; a model of one's own is any distances between the examples, as
            ``rdm(coordinates)``.

    Returns:
        a dataset with ``beta`` (model), standardised weights, and ``r_squared`` in [0, 1]; the intercept is zero, as
        everything is z-scored. NaN if the observed distances are all equal or one is NaN. The distances are not
        independent of each other, so there are no standard errors: the unit of replication is the network.

    Raises:
        DataError: for RDMs that are not square, symmetric and of one size; models that are none, do not vary, are not
            finite or are combinations of each other; fewer pairs of examples than models.

    Source: Flesch et al. 2022; Kriegeskorte & Kievit 2013, "Representational geometry".
    """
    if not models:
        raise DataError("rdm_regression, models: expected at least one model RDM, found none")
    distances = _triangle(observed, "rdm_regression, observed")
    X = _design(models, len(distances))
    y = _z(distances) if np.isfinite(distances).all() else np.full(len(distances), np.nan)
    beta, r_squared = _fit(X, y)
    return xr.Dataset(
        {"beta": (MODEL, beta), R_SQUARED: ((), r_squared)}, coords={MODEL: [str(name) for name in models]}
    )


def _triangle(matrix: Any, where: str) -> np.ndarray:
    values = np.asarray(matrix, dtype=np.float64)
    n = len(values) if values.ndim else 0
    # row by row of the lower triangle is as good an order as any, so long as it is one for all
    if values.shape != (n, n) or n < 2 or not np.allclose(values, values.T, equal_nan=True):
        raise DataError(
            f"{where}: expected a symmetric matrix of distances between two examples or more, found shape "
            f"{values.shape}; pass what rdm returns"
        )
    return values[np.tril_indices(n, -1)]


def _z(values: np.ndarray) -> np.ndarray:
    """Values less their mean over their standard deviation; NaN where only rounding varies."""
    moved = values - values.mean()
    deviation = np.sqrt((moved**2).mean())
    level = np.sqrt((values**2).mean())
    return moved / deviation if deviation > 1e-12 * level else np.full(values.shape, np.nan)


def _design(models: Mapping[str, Any], n_pairs: int) -> np.ndarray:
    """The z-scored model RDMs as columns, shape (pairs, models)."""
    columns = []
    for name, model in models.items():
        where = f"rdm_regression, model {name!r}"
        distances = _triangle(model, where)
        if len(distances) != n_pairs:
            raise DataError(
                f"{where}: expected distances of {n_pairs} pairs of examples, as observed, found {len(distances)}"
            )
        column = _z(distances) if np.isfinite(distances).all() else np.full(n_pairs, np.nan)
        if np.isnan(column).any():
            raise DataError(
                f"{where}: expected finite distances that are not all equal; leave this model out"
            )
        columns.append(column)
    X = np.stack(columns, axis=1)
    if np.linalg.matrix_rank(X, tol=1e-8 * np.sqrt(n_pairs)) < len(columns):
        raise DataError(
            f"rdm_regression, models: expected models none of which is a combination of the others, and fewer of them "
            f"than pairs of examples; found {', '.join(map(str, models))} on {n_pairs} pairs; leave one out"
        )
    return X


def _fit(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and explained variance; both z-scored, so that the intercept is zero."""
    if np.isnan(y).any():
        return np.full(X.shape[1], np.nan), float("nan")
    beta = np.linalg.lstsq(X, y, rcond=None)[0]
    return beta, 1.0 - float(((y - X @ beta) ** 2).sum() / (y**2).sum())
