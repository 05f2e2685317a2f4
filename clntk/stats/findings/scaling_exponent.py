"""How a measure grows with a swept setting, as a power."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.stats.findings.chosen import Measure, swept

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


@register("finding", example={"measure": "kernel_distance", "along": "model.width"})
def scaling_exponent(
    runs: "RunSet",
    *,
    measure: Measure,
    along: str,
    value: str | None = None,
    where: dict[str, Any] | None = None,
    between: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None,
) -> np.ndarray:
    """The exponent b of measure ∝ key^b: the least-squares slope of logarithm against logarithm.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        along: the swept key, of positive numbers.
        value: which of the measure's scalars, where it has several.
        where: what the runs have in common: regime, or another swept key → its value.
        between: the lowest and highest value of the key that count; all by default.

    Returns:
        One exponent a seed; NaN where the measure is not positive at every value.

    Raises:
        DataError: for a key that is not swept, is not of positive numbers or has fewer than three values there, or
            for settings that leave several runs for a seed and value.
        StoreError: if a run did not record what the measure needs.
    """
    table = swept(runs, measure, along, value, where)
    low, high = between or (-np.inf, np.inf)
    table = table.loc[:, [low <= key <= high for key in table.columns]]
    keys = table.columns.to_numpy(float)
    if len(keys) < 3 or not (keys > 0).all():
        raise DataError(
            f"scaling_exponent, along {along}: expected three or more positive values, found {list(table.columns)}"
        )
    values = table.to_numpy(float)
    logs = np.log(np.where(values > 0, values, np.nan))
    from_mean = np.log(keys) - np.log(keys).mean()
    return logs @ from_mean / (from_mean @ from_mean)
