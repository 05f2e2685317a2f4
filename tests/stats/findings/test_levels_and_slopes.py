"""Findings: one number a seed, on runs whose measures are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.protocol.spec import RunSpec
from clntk.runs.runset import RunSet


@pytest.fixture(autouse=True)
def _measures():
    @registry.register("measure")
    def known(known) -> xr.DataArray:
        """What the run was given."""
        return xr.DataArray(float(known))

    @registry.register("measure")
    def pair(known, *, shift: float = 0.0) -> xr.Dataset:
        """The same, and a constant."""
        return xr.Dataset({"it": xr.DataArray(float(known) + shift), "four": xr.DataArray(4.0)})


def run(regime, seed, known, **settings):
    """A run of a regime that has one fact."""
    model, strategy = ({"name": "n", **settings.get(part, {})} for part in ("model", "strategy"))
    spec = RunSpec(
        "p", regime, seed, {"name": "s"}, model, strategy, {"name": regime}, [], regimes=["rich", "lazy"]
    )
    return SimpleNamespace(spec=spec, run_id=spec.run_id, fact=lambda name: known, measured={})


def powers(exponents, *, widths=(4, 8, 64), regime="rich", factor=1.0):
    """Runs whose fact is a power of their width, one exponent a seed."""
    return [
        run(regime, seed, factor * width**exponent, model={"width": width})
        for width in widths
        for seed, exponent in enumerate(exponents)
    ]


def found(name, runs, **options):
    entry = registry.get("finding", name)
    return entry(RunSet(runs), **entry.resolve(options))


def test_a_level_is_a_condition_s_values_in_the_order_of_seeds():
    runs = [run("rich", 1, 5), run("lazy", 0, 7), run("rich", 0, 3)]
    np.testing.assert_array_equal(found("level", runs, measure="known", where={"regime": "rich"}), [3, 5])


def test_a_level_of_one_of_several_values_with_the_measure_s_options():
    measure = {"name": "pair", "shift": 10.0}
    np.testing.assert_array_equal(found("level", [run("rich", 0, 2)], measure=measure, value="pair.it"), [12])
    with pytest.raises(
        DataError, match=r"value: expected one of pair.it, pair.four, found 'pair.i'.*'pair.it'"
    ):
        found("level", [run("rich", 0, 2)], measure=measure, value="pair.i")


def test_settings_must_choose_one_condition():
    runs = powers([1, 2])
    with pytest.raises(DataError, match=r"found 3: rich, width=4; rich, width=8; rich, width=64"):
        found("level", runs, measure="known")
    with pytest.raises(DataError, match=r"no run has \{'model.width': 5\}; there are rich, width=4; "):
        found("level", runs, measure="known", where={"model.width": 5})
    with pytest.raises(DataError, match=r"found 'model.with'; did you mean 'model.width'\?"):
        found("level", runs, measure="known", where={"model.with": 4})
    at_eight = found("level", runs, measure="known", where={"model.width": 8})
    np.testing.assert_array_equal(at_eight, [8, 64])


def test_contrasts_pair_seeds_and_leave_others_undefined():
    runs = [run("rich", 0, 6), run("rich", 1, 9), run("lazy", 1, 3), run("lazy", 2, 1)]
    sides = {"measure": "known", "where": {"regime": "rich"}, "over": {"regime": "lazy"}}
    np.testing.assert_array_equal(found("difference", runs, **sides), [np.nan, 6, np.nan])
    np.testing.assert_array_equal(found("ratio", runs, **sides), [np.nan, 3, np.nan])


def test_a_ratio_over_nothing_is_undefined():
    sides = {"measure": "known", "where": {"regime": "rich"}, "over": {"regime": "lazy"}}
    assert np.isnan(found("ratio", [run("rich", 0, 6), run("lazy", 0, 0)], **sides)).all()


def test_the_exponent_of_a_power():
    runs = powers([-2, 0.5], factor=3.0)
    np.testing.assert_allclose(
        found("scaling_exponent", runs, measure="known", along="model.width"), [-2, 0.5], atol=1e-12
    )


def test_the_exponent_between_two_values_and_in_one_regime():
    rich = [*powers([1], widths=(10, 20, 40)), run("rich", 0, 1e9, model={"width": 80})]
    lazy = powers([3], widths=(10, 20, 40), regime="lazy")
    options = {"measure": "known", "along": "model.width", "where": {"regime": "rich"}, "between": [10, 40]}
    np.testing.assert_allclose(found("scaling_exponent", rich + lazy, **options), [1])
    with pytest.raises(DataError, match=r"where: expected one run for every seed and model.width.*lazy"):
        found("scaling_exponent", rich + lazy, measure="known", along="model.width")


def test_what_is_not_positive_has_no_exponent():
    runs = [*powers([1, 1]), run("rich", 1, 0, model={"width": 2}), run("rich", 0, 2, model={"width": 2})]
    exponents = found("scaling_exponent", runs, measure="known", along="model.width")
    np.testing.assert_allclose(exponents, [1, np.nan])


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (powers([1], widths=(4, 8)), "three or more positive values"),
        (powers([1], widths=(0, 4, 8)), "three or more positive values"),
        ([run("rich", 0, 1)], r"a key that the runs differ in \(none\)"),
        ([run("rich", 0, 1, model={"width": w}) for w in ("a", "b", "c")], "a key of numbers"),
    ],
)
def test_what_has_no_scaling_is_refused(runs, said):
    with pytest.raises(DataError, match=said):
        found("scaling_exponent", runs, measure="known", along="model.width")


def test_a_crossover_lies_where_the_difference_changes_its_sign():
    """One seed crosses 4 half-way in log width, one at a width itself, and one never."""
    runs = [
        run("rich", seed, known, model={"width": width})
        for seed, values in enumerate([(1, 7, 9), (5, 4, 3), (5, 6, 7)])
        for width, known in zip((1, 100, 1000), values, strict=True)
    ]
    options = {"measure": "pair", "value": "pair.it", "other": "pair.four", "along": "model.width"}
    np.testing.assert_allclose(found("crossover", runs, **options), [10, 100, np.nan])


def test_the_first_crossover_counts():
    runs = [run("rich", 0, known, model={"width": w}) for w, known in ((1, 0), (4, 8), (16, 0), (64, 8))]
    options = {"measure": "pair", "value": "pair.it", "other": "pair.four", "along": "model.width"}
    np.testing.assert_allclose(found("crossover", runs, **options), [2])
