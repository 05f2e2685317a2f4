"""At which value of a swept key a measure is best."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clntk.registry import register
from clntk.stats.findings.chosen import Measure, swept

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


@register("finding", example={"measure": "average_accuracy", "along": "strategy.lr"})
def best(
    runs: "RunSet",
    *,
    measure: Measure,
    along: str,
    value: str | None = None,
    where: dict[str, Any] | None = None,
    over: dict[str, Any] | None = None,
    lowest: bool = False,
) -> np.ndarray:
    """The value of a swept key at which a measure is highest, an end of the sweep among them.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        along: the swept key, of numbers.
        value: which of the measure's scalars, where it has several.
        where: what the runs have in common: regime, or another swept key → its value.
        over: another such condition: the value found is divided by the one found there, seed by seed; 1 if both agree.
        lowest: whether the lowest is the best.

    Returns:
        One value of the key a seed, or one ratio of two; the lower of several that are as good; NaN where the measure
        is not defined at some value of the key.

    Raises:
        DataError: for a key that is not swept or not of numbers, or for settings that leave several runs for a seed and
            value.
        StoreError: if a run did not record what the measure needs.
    """
    tables = (
        swept(runs, measure, along, value, chosen) for chosen in ([where] if over is None else [where, over])
    )
    first, *others = (_best(-table if lowest else table) for table in tables)
    return (first / others[0] if others else first).to_numpy(float)


def _best(table: pd.DataFrame) -> pd.Series:
    """By seed, the column with the highest value."""
    known = table.notna().all(axis=1)
    return table[known].idxmax(axis=1).astype(float).reindex(table.index)
