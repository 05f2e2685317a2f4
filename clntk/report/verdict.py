"""The answer in sentences: how far the kernel moved, what was forgotten, how units are tuned."""

import numpy as np
import pandas as pd

from clntk.stats.phrases import bounded, number

_MOVED = {
    "kernel_distance": "tangent kernel",
    "relative_weight_change": "weights",
}


def verdict(comparison: pd.DataFrame) -> list[str]:
    """Sentences on each regime against the baseline, from what the table holds; nothing is said of what it lacks.

    Args:
        comparison: the table of :func:`clntk.compare_regimes`, for one sweep point.
    """
    rows = {(r["measure"], r["regime"]): r for _, r in comparison.iterrows()}
    regimes = list(dict.fromkeys(comparison["regime"]))
    baseline = comparison["baseline"].iloc[0]
    sentences = []
    for regime in regimes:
        if regime == baseline:
            continue
        sentences += _matched(rows, regime, baseline)
        sentences += [
            _moved(rows[measure, regime], rows[measure, baseline], what)
            for measure, what in _MOVED.items()
            if _known(rows, measure, regime, baseline)
        ]
        sentences += _difference(rows, "forgetting", "forgot", regime, baseline)
        sentences += _difference(
            rows, "unit_tuning.selectivity", "had a mean task-selectivity of", regime, baseline
        )
    return sentences


def _known(rows: dict, measure: str, *regimes: str) -> bool:
    return all((measure, r) in rows and np.isfinite(rows[measure, r]["estimate"]) for r in regimes)


def _matched(rows: dict, regime: str, baseline: str) -> list[str]:
    if not _known(rows, "final_train_loss", regime, baseline):
        return []
    one, other = (rows["final_train_loss", r]["estimate"] for r in (regime, baseline))
    apart = abs(one - other) / max(one, other) if max(one, other) > 0 else 0.0
    fair = (
        "matched" if apart <= 0.1 else "NOT matched, so that differences below may be differences in training"
    )
    return [
        f"Training losses at the end of each phase were {fair}: {regime} {number(one)}, {baseline} {number(other)} "
        f"({apart:.1%} apart)."
    ]


def _moved(row: pd.Series, base: pd.Series, what: str) -> str:
    one, other = row["estimate"], base["estimate"]
    how = f"{number(other / one)} times less far" if one < other else f"{number(one / other)} times as far"
    if not min(one, other) > 0:
        how = "another distance"
    return (
        f"The {what} of {row['regime']} moved {how} from initialisation than in {base['regime']}: "
        f"{bounded(one, row['low'], row['high'])} against {bounded(other, base['low'], base['high'])}."
    )


def _difference(rows: dict, measure: str, verb: str, regime: str, baseline: str) -> list[str]:
    if not _known(rows, measure, regime, baseline):
        return []
    row, base = rows[measure, regime], rows[measure, baseline]
    paired = ""
    if np.isfinite(row["diff_low"]):
        paired = f"; paired difference {bounded(row['difference'], row['diff_low'], row['diff_high'])}"
    return [f"{regime} {verb} {number(row['estimate'])}, {baseline} {number(base['estimate'])}{paired}."]
