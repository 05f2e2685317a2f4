"""The designs of trajectory models: which fixed effects they have, and what varies at random."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clntk.axes import SEED
from clntk.stats.mixed import Effect

# columns of the frame that a model is fitted to
Y, GROUP, RUN, AT = "y", "group", "run", "at"


class Term(NamedTuple):
    """A fixed effect: its column in the design, and what its coefficient is divided by to be in units of the data."""

    name: str
    at: Any
    column: np.ndarray
    per: float = 1.0


def lines(frame: pd.DataFrame) -> list[Term]:
    """Level and slope of the baseline, and of what the other group adds; the numbers are centred and scaled to ±1."""
    other, centre = frame[GROUP].to_numpy(float), float(frame[AT].mean())
    half = float((frame[AT] - centre).abs().max()) or 1.0  # of a single number: then no slope is estimable
    trend = ((frame[AT] - centre) / half).to_numpy(float)
    return [
        Term("baseline", centre, np.ones(len(frame))),
        Term("baseline slope", None, trend, half),
        Term("difference", centre, other),
        Term("difference slope", None, other * trend, half),
    ]


def cells(frame: pd.DataFrame) -> list[Term]:
    """The baseline's mean at each checkpoint, and what the other group adds there."""
    other = frame[GROUP].to_numpy(float)
    here = {label: (frame[AT] == label).to_numpy(float) for label in dict.fromkeys(frame[AT])}
    return [Term("baseline", label, column) for label, column in here.items()] + [
        Term("difference", label, other * column) for label, column in here.items()
    ]


def random_effects(frame: pd.DataFrame, trend: np.ndarray | None, *, crossed: bool) -> list[Effect]:
    """What varies at random: the level of each run and its slope, and what runs of one seed share of both.

    Args:
        frame: the values.
        trend: the numbers that slopes are over; without them, runs of one seed share an effect at each checkpoint.
        crossed: whether a seed has a run in both groups.
    """
    run, seed, level = frame[RUN].to_numpy(), frame[SEED].to_numpy(), np.ones(len(frame))
    effects = [Effect(run, level)] if trend is None else [Effect(run, level), Effect(run, trend)]
    if not crossed:
        return effects
    if trend is None:
        return [*effects, Effect(seed, level), Effect(frame.groupby([SEED, AT]).ngroup().to_numpy(), level)]
    return [*effects, Effect(seed, level), Effect(seed, trend)]


def unevenness(frame: pd.DataFrame) -> float:
    """How many times larger the spread between runs is at the most variable checkpoint than at the least."""
    rest = frame[Y] - frame.groupby([GROUP, AT], sort=False)[Y].transform("mean")
    spreads = rest.groupby(frame[AT], sort=False).std()
    return float(spreads.max() / spreads.min()) if spreads.min() > 0 else np.inf
