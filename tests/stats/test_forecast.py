"""How well kernels foretold, from tables whose numbers are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress
from sklearn.metrics import r2_score

from clntk.stats.forecast import bounded_forecasts, departures, forecast_fits
from clntk.stats.intervals import bootstrap_interval


@pytest.fixture
def table():
    """Two conditions, three seeds, three phases, two tasks and two kernels."""
    keys = [
        (condition, seed, phase, task, kernel)
        for condition in ("rich", "lazy")
        for seed in range(3)
        for phase in ("a", "b", "c")
        for task in ("a", "b")
        for kernel in ("init", "task start")
    ]
    found = pd.DataFrame(keys, columns=["condition", "seed", "checkpoint", "eval_task", "kernel"])
    rng = np.random.default_rng(0)
    actual = rng.normal(size=len(found))
    learned = (found.checkpoint > found.eval_task).to_numpy()
    found["predicted"] = rng.normal(size=len(found))
    found["predicted_forgetting"] = np.where(learned, actual + 0.3 * rng.normal(size=len(found)), np.nan)
    found["actual_forgetting"] = np.where(learned, actual, np.nan)
    found["departure"] = rng.uniform(0, 0.02, len(found)) + np.where(found.condition == "rich", 0.05, 0.0)
    found.loc[(found.condition == "rich") & (found.checkpoint > "a"), "departure"] += 0.2
    return found


@pytest.mark.parametrize("by", [[], ["condition"]])
def test_fits_are_those_of_other_packages(by, table):
    found = forecast_fits(table, by)
    assert found["points"].sum() == table.actual_forgetting.notna().sum()
    for _, row in found.iterrows():
        part = table[table.kernel == row["kernel"]].dropna()
        part = part[part.condition == row["condition"]] if by else part
        assert row["points"] == len(part)
        assert row["r2"] == pytest.approx(r2_score(part.actual_forgetting, part.predicted_forgetting))
        assert row["slope"] == pytest.approx(
            linregress(part.predicted_forgetting, part.actual_forgetting).slope
        )


def test_points_without_a_prediction_do_not_count(table):
    gone = table.assign(predicted_forgetting=table.predicted_forgetting.mask(table.kernel == "init"))
    found = forecast_fits(gone).set_index("kernel")
    assert found.loc["init", "points"] == 0
    assert np.isnan(found.loc["init", ["r2", "slope"]].astype(float)).all()
    assert found.loc["task start"].equals(forecast_fits(table).set_index("kernel").loc["task start"])


def test_departures_are_of_the_last_phase_and_say_where_they_began(table):
    found = departures(table).set_index(["kernel", "condition"])
    for (kernel, condition), row in found.iterrows():
        part = table[(table.kernel == kernel) & (table.condition == condition) & (table.checkpoint == "c")]
        seeds = part.groupby("seed").departure.mean().to_numpy()
        assert row["n"] == 3
        assert row["estimate"] == pytest.approx(seeds.mean())
        assert (row["low"], row["high"]) == pytest.approx(bootstrap_interval(seeds))
        assert row["parted"] == ("b" if condition == "rich" else "")


def test_a_seed_without_a_departure_is_left_out(table):
    gone = table.assign(departure=table.departure.mask((table.seed == 1) & (table.checkpoint == "c")))
    assert (departures(gone)["n"] == 2).all()
    none = departures(table.assign(departure=np.nan))
    assert (none["n"] == 0).all()
    assert none["estimate"].isna().all()
    assert (none["parted"] == "").all()


def test_predictions_without_bound_are_taken_out(table):
    pd.testing.assert_frame_equal(bounded_forecasts(table), table)
    table.loc[[3, 7], "departure"] = 1e6
    found = bounded_forecasts(table)
    columns = ["predicted", "predicted_forgetting", "departure"]
    assert found.loc[[3, 7], columns].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.drop(index=[3, 7]), table.drop(index=[3, 7]))
    assert found.actual_forgetting.equals(table.actual_forgetting)
