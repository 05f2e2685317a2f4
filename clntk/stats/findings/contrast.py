"""A measure in one condition against the same in another, seed by seed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from clntk.registry import register
from clntk.stats.findings.chosen import Measure, by_seed

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

_EXAMPLE = {"measure": "kernel_distance", "where": {"regime": "rich"}, "over": {"regime": "lazy"}}


@register("finding", example=_EXAMPLE)
def difference(
    runs: "RunSet",
    *,
    measure: Measure,
    where: dict[str, Any],
    over: dict[str, Any],
    value: str | None = None,
) -> np.ndarray:
    """A measure's scalar in one condition less that in another, for the seeds that both have.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        where: the first condition: regime or swept key → its value.
        over: the condition that it is compared with, likewise.
        value: which of the measure's scalars, where it has several.

    Returns:
        One number a seed, in the measure's units.

    Raises:
        DataError: for settings that no run has or that leave several conditions, or an unknown ``value``.
        StoreError: if a run did not record what the measure needs.
    """
    return (by_seed(runs, measure, value, where) - by_seed(runs, measure, value, over)).to_numpy(float)


@register("finding", example=_EXAMPLE)
def ratio(
    runs: "RunSet",
    *,
    measure: Measure,
    where: dict[str, Any],
    over: dict[str, Any],
    value: str | None = None,
) -> np.ndarray:
    """A measure's scalar in one condition over that in another, for the seeds that both have.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        where: the condition above the line: regime or swept key → its value.
        over: the condition below it, likewise.
        value: which of the measure's scalars, where it has several.

    Returns:
        One number a seed; NaN where the lower is 0.

    Raises:
        DataError: for settings that no run has or that leave several conditions, or an unknown ``value``.
        StoreError: if a run did not record what the measure needs.
    """
    lower = by_seed(runs, measure, value, over)
    return (by_seed(runs, measure, value, where) / lower.where(lower != 0)).to_numpy(float)
