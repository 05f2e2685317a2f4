"""One number a seed out of runs: what findings are made of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from clntk.axes import CONDITION, SEED
from clntk.errors import DataError, did_you_mean
from clntk.protocol.spec import options_of

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

Measure = str | dict[str, Any]  # a name, or a mapping with ``name`` and options


def written_out(measure: Measure) -> dict[str, Any]:
    """A measure as a mapping with ``name`` and options."""
    return {"name": measure} if isinstance(measure, str) else dict(measure)


def values_of(
    runs: "RunSet", measure: Measure, value: str | None = None, where: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """A scalar of every run that has these settings.

    Args:
        runs: of one protocol.
        measure: see :data:`Measure`.
        value: which of the measure's scalars, as ``clntk compare`` names it; not needed for a measure of one.
        where: regime, or a swept key → the value that runs must have.

    Returns:
        Tidy: run, regime, seed, sweep columns, condition and ``value``, one row a run.

    Raises:
        DataError: for settings that no run has, or a measure of several scalars without ``value``.
        StoreError: if a run did not record what the measure needs.
    """
    named = written_out(measure)
    table = runs.where(where or {}).scalars([named])
    known = list(dict.fromkeys(table["measure"]))
    wanted = value or (known[0] if len(known) == 1 else named["name"])
    if wanted not in known:
        raise DataError(
            f"{named['name']}{options_of(named) or ''}, value: expected one of {', '.join(known)}, found {value!r}; "
            f"{did_you_mean(str(value), known) or 'say which'}"
        )
    return table[table["measure"] == wanted].drop(columns="measure").reset_index(drop=True)


def by_seed(
    runs: "RunSet", measure: Measure, value: str | None = None, where: Mapping[str, Any] | None = None
) -> pd.Series:
    """The same of a single condition, indexed by seed, in their order.

    Raises:
        DataError, StoreError: as :func:`values_of`; DataError if the settings leave several conditions.
    """
    table = values_of(one_condition(runs, where), measure, value)
    return table.set_index(SEED)["value"].sort_index()


def one_condition(runs: "RunSet", where: Mapping[str, Any] | None = None) -> "RunSet":
    """The runs of a single condition, of one protocol.

    Raises:
        DataError: for settings that no run has, or that leave several conditions.
    """
    chosen = runs.where(where or {})
    left = list(dict.fromkeys(runs.condition(run) for run in chosen))
    if len(left) > 1:
        raise DataError(
            f"where: expected the settings of one condition, found {len(left)}: {'; '.join(left)}"
        )
    return chosen


def swept(
    runs: "RunSet",
    measure: Measure,
    key: str,
    value: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """The same along a swept key: one row a seed, one column a value of the key, from low to high.

    Raises:
        DataError, StoreError: as :func:`values_of`; DataError for a key that is not swept, is not of numbers, or with
            which other settings vary.
    """
    table = values_of(runs, measure, value, where)
    if key not in runs.axes:
        raise DataError(
            f"along: expected a key that the runs differ in ({', '.join(runs.axes) or 'none'}), found {key!r}"
        )
    table = table.dropna(subset=[key])
    if not pd.api.types.is_numeric_dtype(table[key]):
        raise DataError(
            f"along: expected a key of numbers, found {key!r} of {sorted(set(map(str, table[key])))}"
        )
    if table.duplicated([SEED, key]).any():
        left = ", ".join(dict.fromkeys(table[CONDITION]))
        raise DataError(
            f"along {key}, where: expected one run for every seed and {key}, found several: {left}"
        )
    return table.pivot(index=SEED, columns=key, values="value").sort_index(axis=1)
