"""Means over seeds, with the interval that the seeds allow."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clntk.axes import SEED
from clntk.stats.intervals import bootstrap_interval


def by_seed(table: pd.DataFrame, value: str, keys: Sequence[str]) -> pd.Series:
    """One number a seed: the mean over all that is not a key; rows without a value are left out.

    Args:
        table: tidy, with a column of seeds.
        value: the column averaged.
        keys: columns that tell apart what is not averaged.

    Returns:
        indexed by keys and seed, in order of appearance.
    """
    known = table.dropna(subset=[value])
    return known.groupby([*keys, SEED], sort=False)[value].mean()


def over_seeds(table: pd.DataFrame, value: str, keys: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds with its 95 % bootstrap interval, key by key.

    Args:
        table: tidy, with a column of seeds.
        value: the column averaged, first within seeds.
        keys: columns that tell apart what is not averaged.

    Returns:
        indexed by keys in order of appearance, with columns estimate, low and high; the latter are NaN for a single
        seed.
    """
    seeds = by_seed(table, value, keys).groupby(level=list(keys), sort=False)
    found = seeds.mean().to_frame("estimate")
    bounds = [bootstrap_interval(values.to_numpy()) for _, values in seeds]
    found[["low", "high"]] = np.reshape(bounds, (-1, 2))
    return found
