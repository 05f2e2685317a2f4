"""The verdict on the founding claim, from six numbers a run: supported, not supported or undecided.

Each criterion has a smallest effect that is worth calling one. It is *met* if the interval over seeds lies above that,
*missed* if it lies below, and *open* otherwise. The claim is supported where all are met, not supported where one is
missed, and undecided otherwise: too few seeds never support it, and neither does a high count of tuned units that
protect nothing, nor a training that keeps a network without such a code from forgetting just as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from clntk.axes import REGIME, SEED

Finding = Literal["met", "missed", "open"]
Verdict = Literal["supported", "not supported", "undecided"]


@dataclass(frozen=True)
class Criterion:
    """One of the numbers of the measure ``claim_evidence``, or of :func:`beside_the_laziest`.

    Args:
        name: its column.
        asks: the question in words.
        least: the smallest effect worth calling one, in its own units.
    """

    name: str
    asks: str
    least: float


CRITERIA = (
    Criterion("compression", "Did the dimension of a task's code fall?", 0.15),
    Criterion("tuning", "Are there more units of one task than untrained?", 0.05),
    Criterion("specificity", "Do lesions of such units hurt their own task?", 0.02),
    Criterion("separation", "Did the tasks' kernels come apart?", 0.1),
    Criterion("retention", "Was nothing forgotten?", -0.05),
    Criterion("protection", "Does the laziest regime, trained alike, forget more?", 0.05),
)


def beside_the_laziest(evidence: pd.DataFrame, within: Sequence[str]) -> pd.DataFrame:
    """The evidence with ``protection``, the retention beyond that of the laziest regime that was trained alike.

    Args:
        evidence: one row a run, with regime, seed, ``within``, ``retention`` and ``movement``.
        within: all that tells trainings apart but the regime: the sweep.

    Returns:
        the same rows with ``control``, the regime whose kernel moved least under the same settings, and
        ``protection``, seed by seed; NaN for the control itself, and where it has no run of the seed.
    """
    out = evidence.assign(control="", protection=np.nan)
    groups = evidence.groupby(list(within), sort=False, dropna=False) if within else [((), evidence)]
    for _, runs in groups:
        control = runs.groupby(REGIME)["movement"].mean().idxmin()
        kept = runs[runs[REGIME] == control].set_index(SEED)["retention"]
        others = runs[runs[REGIME] != control]
        out.loc[runs.index, "control"] = control
        out.loc[others.index, "protection"] = others["retention"] - others[SEED].map(kept)
    return out


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of a mean: (NaN, NaN) for fewer than two values.

    Not the bootstrap, whose intervals of a handful of seeds are too narrow for a verdict.
    """
    from scipy import stats

    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def judged(evidence: pd.DataFrame, *, by: str = "condition", level: float = 0.95) -> pd.DataFrame:
    """Each condition's five criteria with intervals over seeds.

    Args:
        evidence: one row a run: ``by`` and a column for each of :data:`CRITERIA`.
        by: what tells conditions apart.
        level: of the intervals.

    Returns:
        One row a condition and criterion: condition, criterion, asks, n, estimate, low, high, least, finding.
    """
    rows = []
    for condition, runs in evidence.groupby(by, sort=False):
        for criterion in CRITERIA:
            values = runs[criterion.name].to_numpy(float)
            values = values[np.isfinite(values)]
            low, high = t_interval(values, level)
            rows.append(
                {
                    by: condition,
                    "criterion": criterion.name,
                    "asks": criterion.asks,
                    "n": len(values),
                    "estimate": values.mean() if len(values) else np.nan,
                    "low": low,
                    "high": high,
                    "least": criterion.least,
                    "finding": _finding(low, high, criterion.least),
                }
            )
    return pd.DataFrame(rows)


def _finding(low: float, high: float, least: float) -> Finding:
    if low > least:
        return "met"
    return "missed" if high < least else "open"


def verdicts(table: pd.DataFrame, *, by: str = "condition") -> dict[str, Verdict]:
    """Condition → verdict, from the table of :func:`judged`."""
    return {condition: _verdict(set(rows["finding"])) for condition, rows in table.groupby(by, sort=False)}


def _verdict(findings: set[Finding]) -> Verdict:
    if "missed" in findings:
        return "not supported"
    return "supported" if findings == {"met"} else "undecided"
