"""The comparison of regimes as people read it."""

import numpy as np
import pandas as pd

from clntk.stats.compare import compared
from clntk.stats.phrases import bounded, number, words

_CORRECTIONS = {"holm": "p (Holm)", "fdr": "p (FDR)"}


def readable(comparison: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`clntk.compare_regimes` with one row a measure and condition, numbers as text.

    Columns: the sweep's, measure, regime (or what is compared), n, estimate, difference and effect size (with
    intervals), corrected p, and the smallest detectable difference ("none" where no difference could be shown).
    """
    split, by = compared(comparison)
    return pd.DataFrame(
        {
            **{key: row[key] for key in split},
            "measure": words(str(row["measure"])),
            by: row[by],
            "n": int(row["n"]),
            "estimate": bounded(row["estimate"], row["low"], row["high"]),
            **_against_baseline(row, is_baseline=row[by] == row["baseline"]),
        }
        for _, row in comparison.iterrows()
    )


def _against_baseline(row: pd.Series, *, is_baseline: bool) -> dict[str, str]:
    p = _CORRECTIONS[row["correction"]]
    if is_baseline:
        return {"difference": "baseline", "effect size": "", p: "", "detectable": ""}
    return {
        "difference": bounded(row["difference"], row["diff_low"], row["diff_high"]),
        "effect size": bounded(row["effect_size"], row["effect_low"], row["effect_high"]),
        p: number(row["p_corrected"]),
        "detectable": "none" if np.isposinf(row["detectable"]) else number(row["detectable"]),
    }
