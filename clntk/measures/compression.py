"""Compression: whether what a task has to ignore is still represented beside what decides in it.

The variance along a feature is that of the mean patterns by level of the feature: what an observer who knows the
level can predict, linear or not. In a crossed design the shares of two features and of their interaction add to one.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from clntk.axes import EVAL_TASK
from clntk.errors import DataError
from clntk.measures.population import Columns, by_layer, centred, patterns
from clntk.measures.stimuli import deciding_features, target_levels
from clntk.measures.tuning.inputs import factor, plain_array
from clntk.registry import register

VARIABLES = ("relevant", "irrelevant", "ratio", "relevant_chance")


def variance_compression(
    activations: Any,
    relevant: Sequence[Hashable],
    irrelevant: Sequence[Hashable] | Sequence[Sequence[Hashable]] | None = None,
) -> xr.Dataset:
    """Variance of activations along task-relevant and irrelevant features, as shares of all variance.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        relevant: the level of each example on the feature that decides, or its class; told apart by their text.
        irrelevant: the level on a feature to be ignored, or a table (examples × features) of several, whose mean
            counts. By default all variance within the levels of the relevant feature: the within-class variance.

    Returns:
        a dataset of numbers:

        - ``relevant``: variance of the mean patterns by relevant level over all variance, in [0, 1]; for classes the
          between-class share;
        - ``irrelevant``: likewise, or the within-class share, in [0, 1];
        - ``ratio``: irrelevant/relevant, ≥ 0: 0 if the irrelevant is collapsed, 1 if both are equally represented;
          NaN if relevant is 0;
        - ``relevant_chance``: what ``relevant`` is on average when levels are dealt out at random, (L − 1)/(N − 1)
          for L levels and N examples.

        All but ``relevant_chance`` are NaN for activations that do not vary, and all are if no relevant level has two
        examples: there is nothing within a level then. Features that are correlated over the examples share their
        variance, which then counts for both.

    Raises:
        DataError: for activations that are not two-dimensional, empty, or not finite, and labels that are missing or
            do not match them in number.

    Source: compression of the irrelevant dimension in Flesch et al. 2022, "Orthogonal representations for robust
    context-dependent task performance", here as a decomposition of variance without a fitted model.
    """
    values = patterns(activations, "variance_compression, activations")
    levels, _ = factor(relevant, len(values), "variance_compression, relevant")
    ignored = None
    if irrelevant is not None:
        table = (
            plain_array(irrelevant) if hasattr(irrelevant, "ndim") else np.asarray(irrelevant, dtype=object)
        )
        columns = table[None] if table.ndim == 1 else table.T
        where = "variance_compression, irrelevant"
        ignored = [factor(column, len(values), where)[0] for column in columns]
        if not ignored:
            raise DataError(f"{where}: expected at least one feature, found none; leave it out")
    return xr.Dataset(dict(zip(VARIABLES, _shares(values, levels, ignored), strict=True)))


def _between(moved: np.ndarray, levels: np.ndarray) -> float:
    """Sum over examples of the squared mean pattern of their level; the patterns are centred."""
    member = levels == np.unique(levels)[:, None]
    sizes = member.sum(axis=1)
    return float(((member @ moved) ** 2 / sizes[:, None]).sum())


def _shares(
    values: np.ndarray, levels: np.ndarray, ignored: list[np.ndarray] | None
) -> tuple[float, float, float, float]:
    """The four variables, in order, of patterns and of each example's level on the features."""
    n, n_levels = len(values), len(np.unique(levels))
    if n_levels == n:
        return (float("nan"),) * 4
    chance = (n_levels - 1) / (n - 1)
    moved = centred(values)
    total = (moved**2).sum()
    if total == 0:
        return float("nan"), float("nan"), float("nan"), chance
    along = [_between(moved, feature) for feature in [levels, *(ignored or [])]]
    # means that cancel do so but for rounding
    floor = (n * np.finfo(np.float64).eps) ** 2 * (values**2).sum()
    relevant, *others = (min(share / total, 1.0) if share > floor else 0.0 for share in along)
    irrelevant = float(np.mean(others)) if others else max(1.0 - relevant, 0.0)
    return relevant, irrelevant, irrelevant / relevant if relevant else float("nan"), chance


def _without_chance(result: xr.Dataset) -> xr.Dataset:
    return result.drop_vars("relevant_chance")


@register("measure", scalar=_without_chance)
def compression(activations: Mapping[str, xr.DataArray], probes: xr.Dataset) -> xr.Dataset:
    """Variance of hidden activity along what decides in a task, and along what it has to ignore.

    ``relevant``, ``irrelevant``, ``ratio`` and ``relevant_chance`` of :func:`variance_compression`, each of shape
    (checkpoint, layer, eval_task). Where all tasks judge the same stimuli by a value, as in ``context_blobs``, a
    task's own target is relevant, and the other tasks' targets are irrelevant. Elsewhere the target levels or classes
    are relevant and the variance within them irrelevant. NaN where no target has two probes, as with continuous
    targets, and in layers that do not vary. Few probes of many classes raise ``relevant`` by chance: read it against
    ``relevant_chance``. The numbers per run are means of the other three over layers and tasks at the last checkpoint.

    Raises:
        DataError: if there are no layers, or activations that are not finite.

    Source: after Flesch et al. 2022; see :func:`variance_compression`.
    """
    features, levels = deciding_features(probes), target_levels(probes)

    def measured(values: np.ndarray) -> Columns:
        rows = []
        for t, task in enumerate(values):
            ignored = None if features is None else list(np.delete(features, t, axis=1).T)
            rows.append(_shares(task, levels[t], ignored))
        table = np.asarray(rows).T
        return {name: ((EVAL_TASK,), row) for name, row in zip(VARIABLES, table, strict=True)}

    return by_layer(activations, measured)
