"""The highest value that a measure takes along a sweep."""

from typing import TYPE_CHECKING, Any

import numpy as np

from clntk.registry import register
from clntk.stats.findings.chosen import Measure, swept

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


@register("finding", example={"measure": "kernel_distance", "along": "strategy.epochs"})
def highest(
    runs: "RunSet",
    *,
    measure: Measure,
    along: str,
    value: str | None = None,
    where: dict[str, Any] | None = None,
) -> np.ndarray:
    """A measure's highest scalar over all values of a swept key: what holds of it holds everywhere.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        along: the swept key, of numbers.
        value: which of the measure's scalars, where it has several.
        where: what the runs have in common: regime, or another swept key → its value.

    Returns:
        One number a seed, in the measure's units; NaN where the measure is not defined at some value of the key.

    Raises:
        DataError: for a key that is not swept or not of numbers, or for settings that leave several runs for a seed and
            value.
        StoreError: if a run did not record what the measure needs.
    """
    return swept(runs, measure, along, value, where).to_numpy(float).max(axis=1)
