"""A measure in one condition."""

from typing import TYPE_CHECKING, Any

import numpy as np

from clntk.registry import register
from clntk.stats.findings.chosen import Measure, by_seed

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


@register("finding", example={"measure": "kernel_distance"})
def level(
    runs: "RunSet", *, measure: Measure, value: str | None = None, where: dict[str, Any] | None = None
) -> np.ndarray:
    """A measure's scalar in one condition.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        value: which of its scalars, where it has several, as ``clntk compare`` names it.
        where: the condition: regime or swept key → its value.

    Returns:
        One number a seed, in the measure's units.

    Raises:
        DataError: for settings that no run has or that leave several conditions, or an unknown ``value``.
        StoreError: if a run did not record what the measure needs.
    """
    return by_seed(runs, measure, value, where).to_numpy(float)
