"""The report's sentences say what the table says, and nothing it does not hold."""

import numpy as np
import pandas as pd

from clntk.report.verdict import verdict


def table(**estimates: tuple[float, float]) -> pd.DataFrame:
    rows = []
    for measure, values in estimates.items():
        for regime, value in zip(("rich", "lazy"), values, strict=True):
            difference = value - values[0] if regime == "lazy" else np.nan
            rows.append(
                {
                    "measure": measure.replace("__", "."),
                    "regime": regime,
                    "baseline": "rich",
                    "estimate": value,
                    "low": value,
                    "high": value,
                    "difference": difference,
                    "diff_low": difference,
                    "diff_high": difference,
                }
            )
    return pd.DataFrame(rows)


def test_a_smaller_drift_is_called_less_far_by_the_ratio():
    (sentence,) = verdict(table(kernel_distance=(0.02, 0.0001)))
    assert "tangent kernel of lazy moved 200 times less far" in sentence


def test_a_larger_drift_is_not_called_smaller():
    (sentence,) = verdict(table(relative_weight_change=(0.1, 0.3)))
    assert "weights of lazy moved 3 times as far" in sentence


def test_unmatched_training_losses_are_called_so():
    assert "were matched" in verdict(table(final_train_loss=(0.100, 0.098)))[0]
    assert "NOT matched" in verdict(table(final_train_loss=(0.100, 0.050)))[0]


def test_forgetting_and_tuning_come_with_the_paired_difference():
    first, second = verdict(table(forgetting=(0.2, 0.3), unit_tuning__selectivity=(0.5, 0.4)))
    assert first.startswith("lazy forgot 0.3, rich 0.2; paired difference 0.1")
    assert "mean task-selectivity of 0.4" in second


def test_nothing_is_said_of_measures_that_are_missing_or_undefined():
    assert verdict(table(forgetting=(np.nan, np.nan))) == []
    assert verdict(table(accuracy_matrix=(1.0, 1.0))) == []
