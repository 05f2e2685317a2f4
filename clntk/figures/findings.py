"""What a figure draws, gathered from runs: quantities as tidy tables, and why there is none of a quantity."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from clntk.axes import (
    CHECKPOINT,
    CONDITION,
    EVAL_TASK,
    INIT,
    LAYER,
    OTHER_TASK,
    OUTPUT,
    PARAM,
    PROBE,
    REGIME,
    RUN,
    SEED,
    STEP,
    TASK,
    UNIT,
)
from clntk.errors import DataError, StoreError
from clntk.figures.seeds import over_seeds
from clntk.stats.phrases import estimates, number, words

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

VALUE, REFERENCE, QUANTITY = "value", "reference", "quantity"
_WHO = [RUN, REGIME, SEED, CONDITION]
_WHERE = [
    CHECKPOINT,
    STEP,
    TASK,
    LAYER,
    PARAM,
    UNIT,
    EVAL_TASK,
    OTHER_TASK,
    PROBE,
    OUTPUT,
    "decoded",
    "model",
]


class Findings:
    """Quantities of runs, measured once each.

    A measure that the runs cannot give (facts that an old run lacks, networks that cannot be rebuilt) or that is not
    defined for them leaves an empty table, and a sentence in :meth:`text`, so that one missing fact does not cost the
    whole answer.

    Args:
        runs: of one protocol.
    """

    def __init__(self, runs: "RunSet") -> None:
        self._runs = runs
        self._measured: dict[str, pd.DataFrame] = {}
        self._options: dict[str, dict[str, Any]] = {}
        self._drawn: dict[str, pd.DataFrame] = {}
        self._missing: dict[str, str] = {}  # quantity → why, "" where it is not defined

    def quantity(
        self,
        measure: str,
        variable: str = "",
        *,
        reference: str = "",
        without: Sequence[str] = (),
        keep: Callable[[pd.DataFrame], pd.Series] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """One quantity as a tidy table, with the columns that say of what it is, ``value`` and ``reference``.

        Args:
            measure: its name.
            variable: of a measure that is a dataset.
            reference: a variable that the value is compared with.
            without: dimensions that the quantity does not have, of a dataset in which others do.
            keep: which rows of the measure's table count; by default all.
            options: of the measure.

        Returns:
            without rows of which the value is not defined; empty where there are no others.
        """
        name = f"{measure}.{variable}" if variable else measure
        table = self._measure(measure, name, options)
        if table.empty:
            return table
        table = table if keep is None else table[keep(table)]
        taken = {VALUE: variable or measure} | ({REFERENCE: reference} if reference else {})
        where = [c for c in _WHERE if c in table and c not in without]
        found = table[[*_WHO, *self._runs.axes, *where]].assign(**{k: table[v] for k, v in taken.items()})
        found = found.drop_duplicates().dropna(subset=[VALUE]).reset_index(drop=True)
        if found.empty:
            self._missing[name] = ""
        else:
            self._drawn[name] = found
        return found

    def _measure(self, measure: str, name: str, options: dict[str, Any]) -> pd.DataFrame:
        if measure not in self._measured:
            self._options[measure] = options
            try:
                self._measured[measure] = self._runs.measure(measure, **options)
            except (StoreError, DataError) as error:
                self._measured[measure] = pd.DataFrame()
                self._missing[measure] = str(error)
        return self._measured[measure]

    def table(self) -> pd.DataFrame:
        """All quantities below each other, told apart by the column ``quantity``.

        Raises:
            StoreError: if there is none, with the reasons.
        """
        if not self._drawn:
            raise StoreError(f"nothing to draw. {self._told_missing()}")
        parts = [part.assign(**{QUANTITY: name}) for name, part in self._drawn.items()]
        return pd.concat(parts, ignore_index=True)

    def text(self, *numbers: str) -> str:
        """A sentence a number with each condition's mean over seeds and interval, then what there is none of.

        Args:
            numbers: a measure, or one of its numbers a run, such as "coding.one_task".
        """
        heads = dict.fromkeys(number.partition(".")[0] for number in numbers)
        chosen = [{"name": h, **self._options[h]} for h in heads if not self._measured[h].empty]
        lines = estimates(self._runs, chosen).splitlines() if chosen else []
        wanted = tuple(words(number) for number in numbers)
        # an estimate says of how many seeds it is; where no condition has one, the quantity is not defined
        told = [line for line in lines if line.startswith(wanted) and "(n = " in line]
        return "\n".join([*told, *filter(None, [self._told_missing()])])

    def _told_missing(self) -> str:
        undefined = [words(name) for name, why in self._missing.items() if not why]
        sentences = [f"Not defined in these runs: {'; '.join(undefined)}."] if undefined else []
        sentences += [f"Not available: {words(name)} ({why})." for name, why in self._missing.items() if why]
        return "\n".join(sentences)


def last(table: pd.DataFrame) -> pd.Series:
    """Whether a row is of its run's last checkpoint."""
    return table[CHECKPOINT] == table.groupby(RUN)[CHECKPOINT].transform("last")


def pairs(table: pd.DataFrame) -> pd.Series:
    """Whether a row is of two different tasks."""
    return table[EVAL_TASK] != table[OTHER_TASK]


def last_pairs(table: pd.DataFrame) -> pd.Series:
    """Whether a row is of two different tasks at its run's last checkpoint."""
    return last(table) & pairs(table)


def ends(table: pd.DataFrame) -> pd.Series:
    """Whether a row is of the untrained network, or of its run's last checkpoint."""
    return (table[CHECKPOINT] == INIT) | last(table)


def against_untrained(table: pd.DataFrame) -> pd.DataFrame:
    """A quantity at the last checkpoint, with its value in the same run's untrained network as reference."""
    if table.empty:
        return table
    keys = [c for c in table.columns if c not in (CHECKPOINT, STEP, TASK, VALUE)]
    untrained = table[table[CHECKPOINT] == INIT].set_index(keys)[VALUE].rename(REFERENCE)
    return table[last(table)].join(untrained, on=keys)


def whose_damage(table: pd.DataFrame) -> pd.DataFrame:
    """Damage by lesions with the column ``to``: the task that the silenced units are tuned to, or other ones."""
    if table.empty:
        return table
    own = table.assign(to=np.where(pairs(table), "other tasks", "own task"))
    return own.sort_values("to", ascending=False, kind="stable", ignore_index=True)


def references(what: str, table: pd.DataFrame, *, by: str | None = None) -> str:
    """A sentence with what a quantity is compared with in each condition, mean over seeds; "" for an empty table.

    Args:
        what: the reference is.
        table: of a quantity, with its reference.
        by: a column whose values are told apart.
    """
    if table.empty:
        return ""
    means = over_seeds(table, REFERENCE, [CONDITION, *filter(None, [by])])["estimate"]
    parts: dict[str, list[str]] = {}
    for key, mean in means.items():
        condition, *rest = key if by else (key,)
        parts.setdefault(condition, []).append(" ".join([*map(str, rest), number(mean)]))
    told = "; ".join(f"{condition} {', '.join(numbers)}" for condition, numbers in parts.items())
    return f"{what}: {told}."


def scored_by(runs: "RunSet") -> Literal["accuracy", "loss"]:
    """What tells how well a task is done: the loss where targets have no accuracy."""
    chance = (float(run.tree.attrs["chance"]) for run in runs)
    return "loss" if any(np.isnan(level) for level in chance) else "accuracy"


Panel = tuple[str, Callable[..., object], pd.DataFrame, dict[str, Any]]


def draws(panels: Sequence[Panel], conditions: Sequence[str]) -> list[Callable[..., object]]:
    """A function that draws each panel of which there is something to draw.

    Args:
        panels: label of the vertical axis, function of this package, table of a quantity, and the function's options.
        conditions: in the order of the legend.
    """
    return [
        partial(draw, table=table, value=VALUE, conditions=conditions, label=label, **options)
        for label, draw, table, options in panels
        if len(table)
    ]
