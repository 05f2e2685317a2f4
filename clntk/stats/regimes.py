"""The comparison of regimes, or of any other setting, over a set of runs: the table that the toolkit exists for."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from clntk.axes import REGIME
from clntk.errors import DataError, did_you_mean
from clntk.stats.compare import Correction, compare_table

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


def compare_regimes(
    runs: "RunSet",
    measures: Iterable[str | dict[str, Any]] | None = None,
    by: str = REGIME,
    paired: bool = True,
    *,
    baseline: Any = None,
    level: float = 0.95,
    seed: int = 0,
    correction: Correction = "holm",
) -> pd.DataFrame:
    """Every regime's measures with intervals over seeds, and differences from a baseline regime.

    Runs with different settings (a sweep) are compared point by point and never pooled. With ``by``, a swept setting
    is compared instead, separately for each regime and point of the rest of the sweep. Where components are compared
    by name ("strategy.name"), options of theirs that each of them has one value of belong to what is compared.

    Three to five seeds show little: a sign-flip test of n pairs cannot give p below 2/2^n (column ``smallest_p``;
    column ``detectable`` says what could have been seen), and a 95 % interval of five values holds the mean in about
    84 % of samples (:func:`clntk.stats.intervals.bootstrap_interval`).

    Args:
        runs: runs of one protocol.
        measures: names, or mappings with options; by default those of the protocol.
        by: what is compared: "regime", or a dotted key that the runs differ in, such as "model.width".
        paired: whether what is compared shares its seeds (data, initialisation), so that differences are taken seed
            by seed; otherwise samples are independent.
        baseline: the value of ``by`` that differences are taken from; by default the protocol's first regime, the
            lowest number, or the first name.
        level: confidence level of the intervals; 1 − level is the p that counts as shown for ``detectable``.
        seed: of bootstrap and permutations.
        correction: of p over measures: "holm" (family-wise error) or "fdr" (Benjamini and Hochberg).

    Returns:
        Tidy table, one row a measure and regime: see :mod:`clntk.stats.compare`.

    Raises:
        StoreError: if there are no finished runs, or runs of several protocols.
        DataError: for an unknown baseline or correction, or a ``by`` that the runs do not differ in.
    """
    chosen = runs.one_protocol()
    axes = [REGIME, *chosen.axes]
    if by not in axes:
        raise DataError(
            f"compare_regimes, by: expected what runs differ in ({', '.join(axes)}), found {by!r}; "
            f"{did_you_mean(by, axes) or 'sweep it in the protocol, or choose one of these'}"
        )
    scalars = chosen.scalars(measures)
    rest = chosen.axes if by == REGIME else [axis for axis in axes if axis != by]
    return compare_table(
        scalars,
        groups=chosen.regimes if by == REGIME else _ascending(scalars[by]),
        by=by,
        within=[axis for axis in rest if not _belongs(axis, by, scalars)],
        baseline=baseline,
        pair=paired,
        level=level,
        seed=seed,
        correction=correction,
    )


def _ascending(values: pd.Series) -> list[Any]:
    """The different values, numbers from low to high and then names; runs without one are not compared."""
    different = dict.fromkeys(values.dropna())
    return sorted(different, key=lambda v: (0, v, "") if isinstance(v, int | float) else (1, 0, str(v)))


def _belongs(axis: str, by: str, scalars: pd.DataFrame) -> bool:
    """Whether an axis is an option of the components compared, of which each has one value."""
    component, _, key = by.rpartition(".")
    if key != "name" or not axis.startswith(f"{component}."):
        return False
    return bool(scalars.groupby(by)[axis].nunique(dropna=False).le(1).all())
