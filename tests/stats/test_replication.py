"""Verdicts on published results."""

import numpy as np
import pytest

from clntk.stats.replication import FEW, MISSED, REPRODUCED, UNDEFINED, judged


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
