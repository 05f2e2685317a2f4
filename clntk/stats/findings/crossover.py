"""Where along a sweep one quantity overtakes another."""

from typing import TYPE_CHECKING, Any

import numpy as np

from clntk.errors import DataError
from clntk.registry import register
from clntk.stats.findings.chosen import Measure, swept

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


@register(
    "finding",
    example={
        "measure": "unit_tuning",
        "value": "unit_tuning.task_only",
        "other": "unit_tuning.mixed",
        "along": "x",
    },
)
def crossover(
    runs: "RunSet",
    *,
    measure: Measure,
    value: str,
    other: str,
    along: str,
    where: dict[str, Any] | None = None,
) -> np.ndarray:
    """Where along a swept key one scalar of a measure first crosses another.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        value: one of its scalars, as ``clntk compare`` names it.
        other: another.
        along: the swept key, of positive numbers.
        where: what the runs have in common: regime, or another swept key → its value.

    Returns:
        One value of the key a seed, interpolated linearly in its logarithm between the two values where the sign of
        the difference changes; NaN where it does not.

    Raises:
        DataError: for a key that is not swept or not of positive numbers, or for settings that leave several runs for
            a seed and value.
        StoreError: if a run did not record what the measure needs.
    """
    one, two = (swept(runs, measure, along, name, where) for name in (value, other))
    keys = one.columns.to_numpy(float)
    if not (keys > 0).all():
        raise DataError(f"crossover, along {along}: expected positive values, found {list(one.columns)}")
    return np.array([_first(row, np.log(keys)) for row in (one - two).to_numpy(float)])


def _first(differences: np.ndarray, logs: np.ndarray) -> float:
    """Where the differences first reach 0 or change their sign; NaN if they never do."""
    for i, here in enumerate(differences):
        if here == 0:
            return float(np.exp(logs[i]))
        if i + 1 < len(differences) and here * differences[i + 1] < 0:
            share = here / (here - differences[i + 1])
            return float(np.exp(logs[i] + share * (logs[i + 1] - logs[i])))
    return np.nan
