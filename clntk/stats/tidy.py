"""What the statistics ask of a tidy table before they count anything."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clntk.errors import DataError, did_you_mean


def need_columns(table: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    """Refuse a table that is empty or lacks a column.

    Raises:
        DataError: saying which.
    """
    if table.empty:
        raise DataError(f"{where}: expected some values, found an empty table; are any runs finished?")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            f"{where}: expected the columns {', '.join(columns)}, found no {', '.join(missing)}; "
            f"the table has {', '.join(map(str, table.columns)) or 'none'}"
        )


def need_one_value_each(table: pd.DataFrame, keys: Sequence[str], where: str) -> None:
    """Refuse a table in which several rows share their keys: they would be pooled or taken for replicates.

    Raises:
        DataError: naming the first such rows.
    """
    repeated = table[table.duplicated(list(keys), keep=False)]
    if len(repeated):
        first = ", ".join(f"{key}={repeated.iloc[0][key]}" for key in keys)
        raise DataError(
            f"{where}: expected one value per ({', '.join(keys)}), found {len(repeated)} rows that share theirs, "
            f"the first at {first}; name what distinguishes them in within=, average over it, or leave the "
            "surplus rows out"
        )


def finite(values: pd.Series) -> pd.Series:
    """The values as floats, NaN where they are not finite."""
    return values.astype(float).replace([np.inf, -np.inf], np.nan)


def reference(baseline: Any, groups: Sequence[Any], where: str) -> Any:
    """The group that differences are taken from: the one named, as it is or as text, or else the first.

    Raises:
        DataError: for a name that no group has.
    """
    if baseline is None:
        return groups[0]
    for group in groups:
        if group == baseline or str(group) == str(baseline):
            return group
    known = [str(group) for group in groups]
    raise DataError(
        f"{where}, baseline: expected one of {', '.join(known)}, found {baseline!r}; "
        f"{did_you_mean(baseline, known) or 'choose one of those compared'}"
    )
