"""The comparison of regimes over a set of runs: the table that the toolkit exists for."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from clntk.stats.compare import compare_table

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


def compare_regimes(
    runs: "RunSet",
    measures: Iterable[str | dict[str, Any]] | None = None,
    *,
    baseline: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every regime's measures with intervals over seeds, and paired differences from a baseline regime.

    Runs with different settings (a sweep) are compared point by point and never pooled.

    Args:
        runs: runs of one protocol.
        measures: names, or mappings with options; by default those of the protocol.
        baseline: the regime that differences are taken from; by default the protocol's first.
        level: confidence level of the intervals.
        seed: of the bootstrap.

    Returns:
        Tidy table, one row a measure and regime: see :func:`clntk.stats.compare.compare_table`.

    Raises:
        StoreError: if there are no finished runs, or runs of several protocols.
        DataError: for an unknown baseline.
    """
    chosen = runs.one_protocol()
    return compare_table(
        chosen.scalars(measures),
        regimes=chosen.regimes,
        baseline=baseline,
        by=chosen.axes,
        level=level,
        seed=seed,
    )
