"""Verdicts on published results."""

import numpy as np
import pandas as pd
import pytest

from clntk.stats.replication import FEW, MISSED, REPRODUCED, UNDEFINED, count, judged, told_verdict


def verdict(values, within, seeds=1):
    claim = {"claim": "it is so", "published": 0.5, "within": within, "seeds": seeds}
    return judged(claim, np.array(values, float))


@pytest.mark.parametrize(
    ("values", "within", "expected"),
    [
        ([0.4, 0.6], [0.45, 0.55], REPRODUCED),
        ([0.4, 0.6], [0.5, 0.5], REPRODUCED),  # both bounds are included
        ([0.4, 0.6], [0.51, 0.6], MISSED),
        ([0.4, 0.6], [None, 0.5], REPRODUCED),
        ([0.4, 0.6], [None, 0.49], MISSED),
        ([0.4, 0.6], [0.5, None], REPRODUCED),
        ([0.4, 0.6], [0.51, None], MISSED),
    ],
)
def test_the_mean_decides(values, within, expected):
    assert verdict(values, within)["verdict"] == expected


def test_too_few_seeds_decide_nothing():
    assert verdict([0.5, 0.5], [0, 1], seeds=3)["verdict"] == FEW
    assert verdict([0.5, 0.5, 0.5], [0, 1], seeds=3)["verdict"] == REPRODUCED


def test_seeds_without_a_value_do_not_count_unless_they_are_most():
    row = verdict([0.5, np.nan, 0.7], [0, 1])
    assert (row["n"], row["verdict"]) == (2, REPRODUCED)
    assert row["mean"] == pytest.approx(0.6)
    assert row["sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert verdict([0.5, np.nan], [0, 1])["verdict"] == UNDEFINED
    assert verdict([np.nan], [0, 1])["verdict"] == UNDEFINED


def test_the_interval_holds_the_mean():
    row = verdict([0.1, 0.2, 0.4, 0.8], [0, 1])
    assert row["low"] < row["mean"] < row["high"]
    assert (row["least"], row["most"]) == (0, 1)


def test_an_open_side_is_told():
    assert verdict([1.0], [None, 2])["least"] == -np.inf
    assert verdict([1.0], [0, None])["most"] == np.inf


@pytest.mark.parametrize(
    ("values", "within", "settled"),
    [
        ([0.4, 0.5, 0.6], [0, 1], True),
        ([0.4, 0.5, 0.6], [0.45, None], False),
        ([0.4, 0.5, 0.6], [None, 0.1], True),
        ([0.4, 0.5, 0.6], [None, 0.45], False),
        ([0.5], [0, 1], False),  # of one value there is no interval
    ],
)
def test_a_verdict_is_settled_where_the_whole_interval_is_on_one_side(values, within, settled):
    row = verdict(values, within)
    assert row["settled"] is settled
    assert told_verdict(row) == row["verdict"] + ("" if settled else ", unsettled")


def test_results_are_counted_with_those_that_are_settled():
    rows = [verdict([0.4, 0.5, 0.6], within) for within in ([0, 1], [0.45, 1], [0.9, 1])]
    rows.append(verdict([0.5], [0, 1], seeds=3))
    assert told_verdict(rows[-1]) == FEW
    assert count(pd.DataFrame(rows)) == (
        "2 of 4 results reproduced; of 1 the whole 95 % interval lies within the tolerance"
    )
