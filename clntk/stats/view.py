"""The comparison of regimes as people read it."""

import pandas as pd

from clntk.stats.phrases import bounded, number, words


def readable(comparison: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`clntk.compare_regimes` with one row a measure and regime, numbers as text.

    Columns: the sweep's, measure, regime, n, estimate and difference (with intervals), effect size, p (Holm-corrected).
    """
    fixed = list(comparison.columns).index("measure")
    sweep = list(comparison.columns[:fixed])
    rows = []
    for _, row in comparison.iterrows():
        is_baseline = row["regime"] == row["baseline"]
        rows.append(
            {
                **{key: row[key] for key in sweep},
                "measure": words(str(row["measure"])),
                "regime": row["regime"],
                "n": int(row["n"]),
                "estimate": bounded(row["estimate"], row["low"], row["high"]),
                "difference": "baseline"
                if is_baseline
                else bounded(row["difference"], row["diff_low"], row["diff_high"]),
                "effect size": "" if is_baseline else number(row["effect_size"]),
                "p (Holm)": "" if is_baseline else number(row["p_holm"]),
            }
        )
    return pd.DataFrame(rows)
