"""Numbers and intervals as people read them."""

import numpy as np
import pandas as pd
import pytest

from clntk.stats.permutation import smallest_p
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
    common = {
        "measure": "forgetting", "n": n, "baseline": "rich", "effect_size": -1.5, "effect_low": -2.0,
        "effect_high": -1.0, "p_corrected": 0.25, "correction": "holm", "test": "sign flip",
        "smallest_p": smallest_p(n), "detectable": np.inf,
    }  # fmt: skip
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
    order = ["measure", "regime", *common, *rows[0]]
    return pd.DataFrame([{**common, **row} for row in rows])[list(dict.fromkeys(order))]


def test_the_readable_table_marks_the_baseline_and_gives_differences_to_it():
    table = readable(comparison(3))
    assert table["difference"].tolist() == ["baseline", "0.2 [0.1, 0.3]"]
    assert table["effect size"].tolist() == ["", "-1.5 [-2, -1]"]
    assert table["estimate"].tolist() == ["0.2 [0.1, 0.3]", "0.4 [0.3, 0.5]"]


def test_the_readable_table_names_the_correction_and_what_could_be_seen():
    table = readable(comparison(3))
    assert table["p (Holm)"].tolist() == ["", "0.25"]
    assert table["detectable"].tolist() == ["", "none"]
    other = readable(comparison(3).assign(correction="fdr", detectable=0.5))
    assert other["p (FDR)"].tolist() == ["", "0.25"]
    assert other["detectable"].tolist() == ["", "0.5"]


def test_the_readable_table_shows_what_is_compared():
    table = readable(
        comparison(3)
        .rename(columns={"regime": "model.width"})
        .assign(**{"model.width": [4, 12], "baseline": 12})
    )
    assert list(table.columns[:3]) == ["measure", "model.width", "n"]
    assert table["difference"].tolist() == ["—", "baseline"]


def test_the_note_says_how_samples_were_compared():
    assert "paired by seed" in small_sample_note(comparison(3))
    assert "between independent samples" in small_sample_note(comparison(3).assign(test="permutation"))
    assert "smallest p" not in small_sample_note(comparison(3).assign(smallest_p=np.nan))


def test_few_seeds_are_called_few_and_many_are_not():
    assert "0.25" in small_sample_note(comparison(3))
    assert "too narrow" in small_sample_note(comparison(3))
    assert "too narrow" not in small_sample_note(comparison(20))
