"""The verdict by hand."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.stats.api as sms

from clntk.stats.claim import CRITERIA, beside_the_laziest, judged, t_interval, verdicts

GOOD = {c.name: c.least + 0.1 for c in CRITERIA}


def evidence(n, spread=0.01, **changes):
    rng = np.random.default_rng(0)
    rows = [{k: v + spread * rng.normal() for k, v in (GOOD | changes).items()} for _ in range(n)]
    return pd.DataFrame(rows).assign(condition="rich")


def test_the_interval_is_students():
    values = np.random.default_rng(3).normal(size=6)
    assert t_interval(values) == pytest.approx(sms.DescrStatsW(values).tconfint_mean())
    assert np.isnan(t_interval(values[:1])).all()


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        (evidence(5), "supported"),
        (evidence(1), "undecided"),
        (evidence(2, spread=0.2), "undecided"),
        (evidence(5, retention=-0.4), "not supported"),
        (evidence(5, tuning=0.0), "not supported"),
        (evidence(5, separation=np.nan), "undecided"),
        (evidence(5, separation=np.nan, tuning=0.0), "not supported"),
    ],
)
def test_the_verdict(runs, verdict):
    assert verdicts(judged(runs)) == {"rich": verdict}


def test_rows_say_what_they_rest_on():
    runs = pd.concat([evidence(4), evidence(3, tuning=0.0).assign(condition="lazy")])
    runs.iloc[0, list(runs.columns).index("tuning")] = np.inf
    table = judged(runs).set_index(["condition", "criterion"])
    assert list(table.index.unique("condition")) == ["rich", "lazy"]
    assert table.loc[("rich", "tuning"), "n"] == 3
    assert table.loc[("lazy", "tuning"), "finding"] == "missed"
    row = table.loc[("rich", "retention")]
    assert row["low"] < row["estimate"] < row["high"]


@pytest.mark.parametrize("shift", [-1.0, 0.0])
def test_noise_is_rarely_called_support(shift):
    """At the edge of what counts, each criterion is met in one of forty experiments, and all together next to never."""
    rng = np.random.default_rng(1)
    least = np.array([c.least for c in CRITERIA])
    names = [c.name for c in CRITERIA]
    found = []
    for k in range(300):
        values = pd.DataFrame(least + 0.1 * (rng.normal(size=(4, len(names))) + shift), columns=names)
        found.append(judged(values.assign(condition=str(k))))
    table = pd.concat(found)
    met = (table["finding"] == "met").mean()
    assert met <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / len(table))
    assert list(verdicts(table).values()).count("supported") == 0


def test_protection_is_beyond_the_laziest_regime_of_the_same_training():
    rows = [
        # under naive training rich retains .3 more than lazy, with replay the regime called rich is the lazier one
        ("naive", "rich", 0, 0.5, -0.1), ("naive", "rich", 1, 0.5, -0.2), ("naive", "rich", 2, 0.5, -0.9),
        ("naive", "lazy", 0, 0.1, -0.4), ("naive", "lazy", 1, 0.1, -0.5),
        ("replay", "rich", 0, 0.0, -0.1), ("replay", "lazy", 0, 0.1, -0.2),
    ]  # fmt: skip
    columns = ["strategy.name", "regime", "seed", "movement", "retention"]
    found = beside_the_laziest(pd.DataFrame(rows, columns=columns), within=["strategy.name"])
    assert found["control"].tolist() == ["lazy"] * 5 + ["rich"] * 2
    assert found["protection"].tolist() == pytest.approx([0.3, 0.3, *[np.nan] * 4, -0.1], nan_ok=True)


def test_one_regime_alone_shows_no_protection():
    alone = evidence(5).assign(regime="rich", seed=range(5), movement=0.1)
    assert verdicts(judged(beside_the_laziest(alone, within=[]))) == {"rich": "undecided"}
