"""Published results against runs: what was measured, and whether it is near enough."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clntk import registry
from clntk.protocol.spec import options_of
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.phrases import number

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

REPRODUCED, MISSED = "reproduced", "not reproduced"
FEW, UNDEFINED = "too few seeds", "not defined"


def judged(claim: Mapping[str, Any], values: np.ndarray) -> dict[str, Any]:
    """One row on a published result.

    Args:
        claim: as a protocol's ``published`` lists it, with ``claim``, ``published``, ``within`` and ``seeds``.
        values: of shape (seeds,), what was found; NaN where a seed has no value.

    Returns:
        ``claim``, ``published``; ``n``, ``mean``, ``sd`` of the seeds with a value, ``low`` and ``high`` of the mean's
        95 % bootstrap interval; ``least`` and ``most``, the bounds within which the mean counts as reproduced; the
        ``verdict``: "reproduced", "not reproduced", "too few seeds" (of those with a value), or "not defined" where
        more than half of the seeds have no value; and ``settled``: whether the whole interval is on the mean's side of
        the bounds, so that other seeds would hardly have made it another verdict.
    """
    given = np.asarray(values, float)
    found = given[np.isfinite(given)]
    least, most = (
        side if side is not None else open_
        for side, open_ in zip(claim["within"], (-np.inf, np.inf), strict=True)
    )
    mean = found.mean() if len(found) else np.nan
    low, high = bootstrap_interval(found) if len(found) else (np.nan, np.nan)
    if 2 * len(found) <= len(given):
        verdict = UNDEFINED
    elif len(found) < claim["seeds"]:
        verdict = FEW
    else:
        verdict = REPRODUCED if least <= mean <= most else MISSED
    return {
        "claim": claim["claim"],
        "published": str(claim["published"]),
        "n": len(found),
        "mean": mean,
        "sd": found.std(ddof=1) if len(found) > 1 else np.nan,
        "low": low,
        "high": high,
        "least": least,
        "most": most,
        "verdict": verdict,
        "settled": bool(
            low >= least and high <= most if verdict == REPRODUCED else high < least or low > most
        ),
    }


def replicated(runs: "RunSet", claims: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row of :func:`judged` for every published result, as these runs have it.

    Raises:
        DataError, StoreError: if the runs lack what a result is to be held against.
    """
    return pd.DataFrame(
        judged(claim, registry.get("finding", claim["finding"]["name"])(runs, **options_of(claim["finding"])))
        for claim in claims
    )


def told_verdict(row: Mapping[str, Any]) -> str:
    """The verdict, and whether other seeds might well have given another one."""
    decided = row["verdict"] in (REPRODUCED, MISSED)
    return f"{row['verdict']}, unsettled" if decided and not row["settled"] else str(row["verdict"])


def count(table: pd.DataFrame) -> str:
    """How many results of a table are reproduced, and of how many this is settled."""
    well = table[table["verdict"] == REPRODUCED]
    return (
        f"{len(well)} of {len(table)} results reproduced; of {int(well['settled'].sum())} the whole 95 % interval lies "
        "within the tolerance"
    )


def tolerance(least: float, most: float) -> str:
    """``at least 3``, ``at most 2`` or ``2 to 3``."""
    if least == float("-inf"):
        return f"at most {number(most)}"
    return f"at least {number(least)}" if most == float("inf") else f"{number(least)} to {number(most)}"
