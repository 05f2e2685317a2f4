"""How well kernels foretold what was forgotten, and where runs part from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clntk.axes import CHECKPOINT, CONDITION, SEED
from clntk.measures.kernel_forecast import KERNEL
from clntk.measures.predicted_change import fit
from clntk.stats.intervals import bootstrap_interval

PARTED = 0.1  # of how far outputs moved: a departure beyond which a run has parted from its kernel
LOST = 10.0  # and one beyond which the prediction grows without bound, under steps that are too large for the kernel

PREDICTED, ACTUAL, DEPARTURE = "predicted_forgetting", "actual_forgetting", "departure"


def bounded_forecasts(table: pd.DataFrame) -> pd.DataFrame:
    """The table without predictions that grow without bound.

    A kernel whose largest eigenvalue times the learning rate is beyond 2 has no limit, while the network that it is of
    may settle all the same, by moving to where its kernel is smaller.

    Args:
        table: of :func:`clntk.predict_forgetting`.

    Returns:
        with NaN for what is predicted where the departure is beyond :data:`LOST`.

    Source: Cohen et al. 2021, arXiv 2103.00065, for networks at that edge.
    """
    lost = table[DEPARTURE] > LOST
    columns = ["predicted", PREDICTED, DEPARTURE]
    return table.assign(**{name: table[name].mask(lost) for name in columns})


def forecast_fits(table: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """R² and slope of the forgetting that happened on that which each kernel predicts, over all learned tasks.

    Args:
        table: of :func:`clntk.predict_forgetting`.
        by: columns that are told apart, beside the kernel.

    Returns:
        one row a kernel and value of ``by``, in order of appearance, with these columns; how many ``points`` have a
        prediction, ``r2`` of the predictions as they are, and the ``slope`` of actual on predicted: see
        :func:`clntk.measures.predicted_change.fit`.
    """
    rows = []
    for key, part in table.dropna(subset=[ACTUAL]).groupby([KERNEL, *by], sort=False):
        known = part.dropna(subset=[PREDICTED])
        pair = known[PREDICTED].to_numpy(), known[ACTUAL].to_numpy()
        r2, slope, _ = fit(*pair) if len(known) else (np.nan,) * 3
        rows.append(
            {**dict(zip([KERNEL, *by], key, strict=True)), "points": len(known), "r2": r2, "slope": slope}
        )
    return pd.DataFrame(rows)


def departures(table: pd.DataFrame) -> pd.DataFrame:
    """How far each condition has parted from each kernel after the last phase, and after which it first did.

    Args:
        table: of :func:`clntk.predict_forgetting`.

    Returns:
        one row a kernel and condition, in order of appearance: ``kernel``, ``condition``; ``estimate``, the mean over
        seeds of the departure after the last phase, tasks averaged within a seed, with its 95 % bootstrap interval
        ``low``, ``high`` and ``n``; and ``parted``, the first checkpoint at which the mean is beyond :data:`PARTED`,
        or "".
    """
    rows = []
    for (kernel, condition), part in table.groupby([KERNEL, CONDITION], sort=False):
        phases = list(dict.fromkeys(part[CHECKPOINT]))
        seeds = part.dropna(subset=[DEPARTURE]).groupby([CHECKPOINT, SEED], sort=False)[DEPARTURE].mean()
        seeds = seeds.unstack(SEED).reindex(phases)
        last, means = seeds.iloc[-1].dropna().to_numpy(), seeds.mean(axis=1)
        low, high = bootstrap_interval(last) if len(last) else (np.nan, np.nan)
        beyond = [phase for phase in phases if means[phase] > PARTED]
        rows.append(
            {
                KERNEL: kernel,
                CONDITION: condition,
                "estimate": means.iloc[-1],
                "low": low,
                "high": high,
                "n": len(last),
                "parted": beyond[0] if beyond else "",
            }
        )
    return pd.DataFrame(rows)
