"""Quantities along a swept setting, and the powers that they grow with."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import NotApplicable
from clntk.protocol.spec import RunSpec
from clntk.runs.runset import RunSet
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.scaling import along, exponents, highest_decades, keys_of, slope_note, swept_key

KEY = "model.width"


@pytest.fixture(autouse=True)
def _measures():
    @registry.register("measure")
    def known(known) -> xr.DataArray:
        """What the run was given."""
        return xr.DataArray(float(known))


def run(seed, known, *, regime="it", epochs=1, **model):
    model, strategy = {"name": "m", **model}, {"name": "n", "epochs": epochs}
    spec = RunSpec("p", regime, seed, {"name": "s"}, model, strategy, {"name": regime}, [])
    return SimpleNamespace(spec=spec, run_id=spec.run_id, measured={}, fact=lambda _: known)


def powers(slopes, widths=(4, 8, 64), **settings):
    return [run(seed, width**b, width=width, **settings) for width in widths for seed, b in enumerate(slopes)]


def test_exponents_are_means_over_seeds_with_their_interval():
    slopes = [-1.0, -1.5, -2.5]
    row = exponents(RunSet(powers(slopes)), {"It": "known"}, KEY).loc["It"]
    assert row["estimate"] == pytest.approx(np.mean(slopes))
    assert (row["low"], row["high"]) == pytest.approx(bootstrap_interval(slopes))
    assert row["n"] == 3


def test_exponents_are_of_the_range_and_runs_asked_for():
    bent = [*powers([-1.0], (8, 16, 32)), run(0, 1e6, width=2)]
    between = exponents(RunSet(bent), {"It": "known"}, KEY, between=(8, 32))
    assert between.loc["It", "estimate"] == pytest.approx(-1)
    assert exponents(RunSet(bent), {"It": "known"}, KEY).loc["It", "estimate"] < -2
    both = RunSet([*powers([-1.0]), *powers([-2.0], epochs=9)])
    long = exponents(both, {"It": "known"}, KEY, where={"strategy.epochs": 9})
    assert long.loc["It", "estimate"] == pytest.approx(-2)


def test_what_is_not_positive_has_no_exponent():
    row = exponents(RunSet([run(0, -w, width=w) for w in (2, 4, 8)]), {"It": "known"}, KEY).loc["It"]
    assert row["n"] == 0
    assert np.isnan([row["estimate"], row["low"], row["high"]]).all()


def test_a_row_a_run_and_quantity():
    table = along(RunSet(powers([1.0])), {"One": "known", "Two": "known"})
    assert table["quantity"].tolist() == ["One"] * 3 + ["Two"] * 3
    assert table["value"].tolist() == [4, 8, 64] * 2
    assert table[KEY].tolist() == [4, 8, 64] * 2


def test_the_swept_key_is_found_by_its_ending():
    runs = RunSet(powers([1.0]))
    assert swept_key(runs, ".width", "it") == KEY
    assert keys_of(runs, KEY) == [4, 8, 64]
    longer = RunSet([*runs, *powers([1.0], epochs=9)])
    assert swept_key(longer, ".width", "it", beside=["strategy.epochs"]) == KEY


def test_the_highest_decades_have_three_values_at_least():
    values = [1, 3, 10, 30, 100, 300, 1000]
    assert highest_decades(values, 2.0) == (10, 1000)
    assert highest_decades(values, 2.2) == (10, 1000)
    assert highest_decades(values, 0.1) == (100, 1000)
    assert highest_decades(values, 9.0) == (1, 1000)
    assert highest_decades([0.1, 0.3, 3.0, 30.0], 2.0) == (0.3, 30.0)


OTHER = {
    "nothing swept": ([run(0, 1, width=4)], "differ in nothing but their seeds"),
    "something else": ([run(0, 1, width=4, epochs=e) for e in (1, 2, 3)], "differ in strategy.epochs"),
    "something beside": (
        [*powers([1.0]), *powers([1.0], epochs=9)],
        "differ in (model.width, strategy.epochs|strategy.epochs, model.width)",
    ),
    "regimes": ([*powers([1.0]), *powers([1.0], regime="other")], "differ in model.width, regime"),
    "too few": (powers([1.0], (4, 8)), "3 or more positive values of model.width, found 4, 8;"),
    "negative": (powers([1.0], (0, 4, 8)), "found 0, 4, 8;"),
}


@pytest.mark.parametrize("what", OTHER)
def test_other_runs_are_refused(what):
    runs, message = OTHER[what]
    with pytest.raises(NotApplicable, match=rf"^it: expected .*{message}"):
        swept_key(RunSet(runs), ".width", "it")


def test_an_exponent_is_told_with_its_interval():
    row = exponents(RunSet(powers([-1.0, -1.5, -2.5])), {"It": "known"}, KEY).loc["It"]
    assert slope_note(row) == "slope −1.67 [−2.5, −1.17]"
    alone = exponents(RunSet(powers([-0.5])), {"It": "known"}, KEY).loc["It"]
    assert slope_note(alone) == "slope −0.5"
