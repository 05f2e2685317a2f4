"""Where a measure peaks along a sweep, and what is gained beyond."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.stats.findings.chosen import Measure, swept

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


@register("finding", example={"measure": "final_train_loss", "along": "model.width"})
def peak(
    runs: "RunSet",
    *,
    measure: Measure,
    along: str,
    value: str | None = None,
    where: dict[str, Any] | None = None,
    lowest: bool = False,
    prominence: Annotated[float, Field(ge=0)] = 0.0,
) -> np.ndarray:
    """The value of a swept key at which a measure has its most prominent peak, not at an end of the sweep.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options.
        along: the swept key, of numbers.
        value: which of the measure's scalars, where it has several.
        where: what the runs have in common: regime, or another swept key → its value.
        lowest: whether a trough is looked for: of an accuracy, where errors peak.
        prominence: how far it must stand out from the saddles on both sides, in the measure's units.

    Returns:
        One value of the key a seed; NaN where there is no such peak.

    Raises:
        DataError: for a key that is not swept or not of numbers, or for settings that leave several runs for a seed and
            value.
        StoreError: if a run did not record what the measure needs.

    Source: prominence as in :func:`scipy.signal.peak_prominences`.
    """
    table = swept(runs, measure, along, value, where)
    keys = table.columns.to_numpy(float)
    return np.array(
        [keys_at_peak(row, keys, prominence) for row in table.to_numpy(float) * (-1 if lowest else 1)]
    )


def keys_at_peak(values: np.ndarray, keys: np.ndarray, prominence: float) -> float:
    """The key of the most prominent inner peak that stands out at least so far; NaN if there is none."""
    from scipy.signal import find_peaks

    places, found = find_peaks(values, prominence=(prominence, None))
    known = found["prominences"] > 0
    if not known.any():
        return np.nan
    return float(keys[places[known][found["prominences"][known].argmax()]])


@register("finding", example={"measure": "average_accuracy", "along": "model.width", "threshold": 100.0})
def gain_beyond(
    runs: "RunSet",
    *,
    measure: Measure,
    along: str,
    threshold: float,
    value: str | None = None,
    where: dict[str, Any] | None = None,
) -> np.ndarray:
    """How much higher a measure is at a swept key's highest value than at its best below a threshold.

    Args:
        runs: of one protocol.
        measure: its name, or a mapping with ``name`` and options: the higher, the better.
        along: the swept key, of numbers.
        threshold: below which values of the key the best is taken.
        value: which of the measure's scalars, where it has several.
        where: what the runs have in common: regime, or another swept key → its value.

    Returns:
        One number a seed, in the measure's units.

    Raises:
        DataError: for a key that is not swept or not of numbers, without values on both sides of the threshold, or for
            settings that leave several runs for a seed and value.
        StoreError: if a run did not record what the measure needs.
    """
    table = swept(runs, measure, along, value, where)
    keys = table.columns.to_numpy(float)
    if not (keys.min() < threshold < keys.max()):
        raise DataError(
            f"gain_beyond, threshold: expected a value of {along} between {keys.min():g} and {keys.max():g}, found "
            f"{threshold:g}"
        )
    values = table.to_numpy(float)
    return values[:, -1] - values[:, keys < threshold].max(axis=1)
