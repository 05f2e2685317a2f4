"""Numbers and intervals as people read them."""

import numpy as np
import pandas as pd
import pytest

from clntk.stats.phrases import bounded, number, small_sample_note, words
from clntk.stats.view import readable


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (0.99988, "0.99988"),
        (1.0, "1"),
        (-110.78, "-111"),
        (1.32e-5, "1.32·10⁻⁵"),
        (-2.5e6, "-2.50·10⁶"),
        (float("nan"), "—"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_intervals_are_shown_only_where_they_exist():
    assert bounded(0.5, 0.25, 0.75) == "0.5 [0.25, 0.75]"
    assert bounded(0.5, np.nan, np.nan) == "0.5"
    assert bounded(np.nan, np.nan, np.nan) == "—"


def test_words():
    assert words("unit_tuning.task_only") == "Unit tuning, task only"


def comparison(n: int) -> pd.DataFrame:
    common = {"measure": "forgetting", "n": n, "baseline": "rich", "effect_size": -1.5, "p_holm": 0.25}
    rows = [
        {
            "regime": "rich",
            "estimate": 0.2,
            "low": 0.1,
            "high": 0.3,
            "difference": np.nan,
            "diff_low": np.nan,
            "diff_high": np.nan,
        },
        {
            "regime": "lazy",
            "estimate": 0.4,
            "low": 0.3,
            "high": 0.5,
            "difference": 0.2,
            "diff_low": 0.1,
            "diff_high": 0.3,
        },
    ]
    return pd.DataFrame([{**common, **row} for row in rows])


def test_the_readable_table_marks_the_baseline_and_gives_differences_to_it():
    table = readable(comparison(3))
    assert table["difference"].tolist() == ["baseline", "0.2 [0.1, 0.3]"]
    assert table["effect size"].tolist() == ["", "-1.5"]
    assert table["estimate"].tolist() == ["0.2 [0.1, 0.3]", "0.4 [0.3, 0.5]"]


def test_few_seeds_are_called_few_and_many_are_not():
    assert "0.25" in small_sample_note(comparison(3))
    assert "too narrow" in small_sample_note(comparison(3))
    assert "too narrow" not in small_sample_note(comparison(20))
