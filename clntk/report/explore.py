"""What a reader of the page can choose of a table: what is drawn, across what, and of which task, layer or unit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types
from scipy.stats import t

from clntk.axes import CHECKPOINT, CONDITION, LABELS, REGIME, RUN, SEED, STEP, UNIT
from clntk.figures.style import palette
from clntk.stats.phrases import words

_ORDERED = (CHECKPOINT, STEP)  # what a line may be drawn across
_NO_VALUES = (RUN, REGIME, SEED, CONDITION, *_ORDERED, UNIT)


def roles(table: pd.DataFrame, *, conditions: Sequence[str], axes: Sequence[str]) -> dict[str, Any] | None:
    """What each column of an analysis' table is for; none where there is nothing to choose.

    Args:
        table: tidy, as :attr:`clntk.figures.answer.Answer.table`.
        conditions: all that its column of conditions may name, in order.
        axes: columns that are parts of the condition.

    Returns:
        For JSON: ``values`` (column, label), what can be drawn; ``dims`` (field, label, whether it is numeric, ordered,
        has to be chosen, can be chosen, is a part of the condition, and can be drawn across); ``series`` and ``seed``,
        columns or none; ``conditions`` with their colours; ``t``, quantiles of Student's t for intervals of 2, 3, …
        seeds; ``log``, whether to begin with a logarithmic axis.
    """
    labels = {*_NO_VALUES, *axes}
    values = [name for name in table.columns if name not in labels and _is_value(table[name])]
    others = [
        name
        for name in table.columns
        if name not in (*values, RUN, SEED, CONDITION) and not _told(name, table)
    ]
    dims = [dim for dim in (_dim(name, table, {REGIME, *axes}) for name in others) if dim is not None]
    if not values or not any(dim["across"] for dim in dims):
        return None
    seeds = table[SEED].nunique() if SEED in table else 0
    return {
        "values": [[name, _label(name)] for name in values],
        "dims": sorted(dims, key=lambda dim: (not dim["ordered"], not dim["pick"])),
        "series": CONDITION if CONDITION in table else None,
        "seed": SEED if SEED in table else None,
        "conditions": _colours(conditions if CONDITION in table else ["all runs"]),
        "t": [float(t.ppf(0.975, n - 1)) for n in range(2, seeds + 1)],
        "log": _spans_decades(table, values[0]),
    }


def _is_value(column: pd.Series) -> bool:
    number = types.is_float_dtype(column) or types.is_bool_dtype(column) or types.is_integer_dtype(column)
    return bool(number and column.notna().any())


def _told(name: str, table: pd.DataFrame) -> bool:
    """Whether the checkpoint says it already, as it does what was trained before."""
    if CHECKPOINT not in table or name in (CHECKPOINT, STEP):
        return False
    return bool(table.groupby(CHECKPOINT)[name].nunique(dropna=False).le(1).all())


def _dim(name: str, table: pd.DataFrame, parts: set[str]) -> dict[str, Any] | None:
    """A column that tells rows apart; none of one that tells nothing."""
    if table[name].nunique(dropna=False) < 2:
        return None
    return {
        "field": name,
        "label": _label(name),
        "numeric": bool(types.is_numeric_dtype(table[name])),
        "ordered": name in _ORDERED,
        "pick": name not in LABELS and not name.endswith("_task") and name not in parts,  # no mean over kinds
        "filter": name != STEP,  # conditions have their own
        "condition": name in parts,
        "across": name not in parts,
    }


def _label(name: str) -> str:
    return LABELS.get(name) or words(name)


def _colours(conditions: Sequence[str]) -> list[list[str]]:
    """Each condition with its colour in the figures."""
    from matplotlib.colors import to_hex

    return [[name, to_hex(colour)] for name, colour in palette(conditions).items()]


def _spans_decades(table: pd.DataFrame, value: str) -> bool:
    """Whether the values of conditions lie so far apart that a linear axis would show but one of them."""
    found = table[value].astype(float)
    if not (found.dropna() >= 0).all():
        return False
    positive = found[np.isfinite(found) & (found > 0)]
    return bool(len(positive) and positive.max() > 100 * positive.quantile(0.25))
