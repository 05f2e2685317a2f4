"""Runs looked at together: what tells them apart, and measures over them as tidy tables."""

from dataclasses import replace

import pandas as pd
import pytest
import xarray as xr

import clntk
from clntk import registry
from clntk.errors import DataError, StoreError, UnknownName
from clntk.protocol.spec import RunSpec
from clntk.runs.conditions import Conditions
from clntk.runs.opened import Run
from clntk.runs.runset import RunSet, unfinished
from clntk.runs.store import RunStore, State

QUICK = ["stream.n_probe=4", "strategy.epochs=1", "model.width=4", "seeds=1", "measures=[average_accuracy]"]


@pytest.fixture
def register_measure():
    """Registers a function as a measure for one test."""
    return lambda function: clntk.register("measure")(function)


@pytest.fixture(scope="module")
def widths(write_protocol, tmp_path_factory):
    """Two widths, two regimes, two seeds, swept in one run of a protocol."""
    folder = tmp_path_factory.mktemp("widths")
    regimes = {
        "rich": {"name": "output_scale", "alpha": 1.0},
        "lazy": {"name": "output_scale", "alpha": 100.0},
    }
    path = write_protocol(folder, regimes=regimes, sweep={"model.width": [12, 4]}, seeds=2)
    return clntk.run(path, store=folder / "runs")


@pytest.fixture(scope="module")
def both(write_protocol, tmp_path_factory):
    """A store with the runs of two protocols."""
    folder = tmp_path_factory.mktemp("both")
    for name in ("one", "other"):
        clntk.run(write_protocol(folder, name), store=folder / "runs")
    return folder / "runs"


class TestSet:
    def test_regimes_come_in_the_order_of_the_protocol(self, smoke_runs):
        assert smoke_runs.regimes == smoke_runs.conditions == ["rich", "lazy"]
        assert [run.spec.regime for run in clntk.open_runs(smoke_runs.root)] == [
            "rich",
            "rich",
            "lazy",
            "lazy",
        ]

    def test_a_set_says_what_it_holds(self, smoke_runs):
        assert repr(smoke_runs) == "RunSet of 4 runs: smoke; regimes rich, lazy; seeds [0, 1]"
        assert len(smoke_runs) == 4
        assert smoke_runs.protocols == ["smoke"]
        assert smoke_runs.axes == []

    def test_a_single_run_can_be_opened(self, smoke_runs):
        (run,) = clntk.open_runs(smoke_runs.runs[0].path)
        assert run.run_id == smoke_runs.runs[0].run_id
        assert run.fact("outputs").equals(smoke_runs.runs[0].fact("outputs"))

    def test_some_runs_can_be_picked(self, smoke_runs):
        picked = smoke_runs.only([smoke_runs.runs[0].run_id, "no such run"])
        assert [run.run_id for run in picked] == [smoke_runs.runs[0].run_id]
        assert picked.root == smoke_runs.root

    def test_no_folder_is_an_error_that_says_what_to_do(self, tmp_path):
        with pytest.raises(
            StoreError, match=r"expected a folder of runs, found nothing at .*nope; check the path"
        ):
            clntk.open_runs(tmp_path / "nope")

    def test_what_is_not_done_is_set_aside(self, smoke_copy):
        store, (one, two, *_) = RunStore(smoke_copy), clntk.open_runs(smoke_copy)
        for run in (one, two):
            run.path.rename(smoke_copy.parent / run.run_id)
        store.enrol([one.spec, two.spec])
        store.fail(two.run_id, {"reason": "it fell over"})
        runs = clntk.open_runs(smoke_copy)
        assert len(runs) == 2
        assert {s.run_id: s.state for s in runs.others} == {
            one.run_id: State.PENDING,
            two.run_id: State.FAILED,
        }
        assert [s.note for s in runs.failures] == ["it fell over"]
        assert {spec.run_id for spec in unfinished(runs)} == {one.run_id, two.run_id}


class TestSeveralProtocols:
    def test_they_are_never_compared_but_chosen_from(self, both):
        runs = clntk.open_runs(both)
        assert sorted(runs.protocols) == ["one", "other"]
        with pytest.raises(StoreError, match="several protocols; choose one of one, other with --protocol"):
            clntk.compare_regimes(runs)
        assert clntk.open_runs(both, protocol="other").one_protocol().protocols == ["other"]

    def test_a_protocol_that_is_not_there(self, both):
        with pytest.raises(
            StoreError, match=r"holds no runs of 'othr'; did you mean 'other'\? known: one, other"
        ):
            clntk.open_runs(both, protocol="othr")


class TestSettings:
    def test_a_sweep_is_an_axis_in_its_own_order(self, widths):
        assert widths.axes == ["model.width"]
        assert clntk.open_runs(widths.root).conditions == [
            "rich, width=4", "rich, width=12", "lazy, width=4", "lazy, width=12",
        ]  # fmt: skip

    def test_different_widths_are_never_pooled(self, widths):
        table = clntk.compare_regimes(widths, ["average_accuracy"])
        assert list(table.columns[:3]) == ["model.width", "measure", "regime"]
        assert table.groupby("model.width").n.apply(list).to_dict() == {4: [2, 2], 12: [2, 2]}
        values = widths.scalars(["average_accuracy"]).groupby(["model.width", "regime"]).value.mean()
        for row in table.itertuples():
            assert row.estimate == pytest.approx(values[row[1], row.regime])

    def test_overrides_in_one_store_are_told_apart_like_a_sweep(self, tmp_path):
        for width in (4, 8):
            clntk.run("smoke", [*QUICK, f"model.width={width}"], store=tmp_path)
        runs = clntk.open_runs(tmp_path)
        assert runs.axes == ["model.width"]
        assert list(clntk.compare_regimes(runs).n) == [1, 1, 1, 1]

    def test_a_cell_of_a_sweep_is_the_run_that_it_would_be_alone(self, tmp_path):
        alone = clntk.run("smoke", QUICK, store=tmp_path)
        swept = clntk.run("smoke", [*QUICK, "sweep={model.width: [4, 8]}"], store=tmp_path)
        assert {run.run_id for run in alone} < {run.run_id for run in swept}
        assert list(clntk.compare_regimes(clntk.open_runs(tmp_path)).n) == [1, 1, 1, 1]

    def test_an_option_that_is_a_mapping_here_and_nothing_there_tells_runs_apart(self, smoke_runs):
        spec = smoke_runs.runs[0].spec
        plain, one, two = (
            replace(spec, model=spec.model | {"noise": noise}) for noise in (None, {"sd": 1.0}, {"sd": 2.0})
        )
        conditions = Conditions([plain, one])
        assert conditions.axes == ["model.noise.sd"]
        assert [conditions.name(s) for s in (plain, one)] == ["rich", "rich, sd=1.0"]
        assert Conditions([one, two]).axes == ["model.noise.sd"]

    def test_a_sweep_over_one_regime_is_paired_with_the_others(self, tmp_path):
        runs = clntk.run(
            "smoke", [*QUICK, "sweep={regimes.lazy.alpha: [100, 10]}", "seeds=2"], store=tmp_path
        )
        assert runs.conditions == [
            f"{regime}, alpha={alpha}" for regime in ("rich", "lazy") for alpha in (10.0, 100.0)
        ]
        table = clntk.compare_regimes(runs, ["average_accuracy"])
        assert table["regimes.lazy.alpha"].tolist() == [10.0, 10.0, 100.0, 100.0]
        assert table.regime.tolist() == ["rich", "lazy"] * 2
        assert table.n_pairs.tolist() == [0, 2, 0, 2]

    def test_runs_with_other_probes_are_not_pooled(self, tmp_path):
        clntk.run("smoke", QUICK, store=tmp_path)
        clntk.run("smoke", [*QUICK, "measures=[average_accuracy, kernel_distance]"], store=tmp_path)
        runs = clntk.open_runs(tmp_path)
        assert runs.axes == ["probes"]
        table = clntk.compare_regimes(runs)
        rows = table.groupby(["probes", "measure"]).n.apply(list).to_dict()
        assert rows == {
            ("kernels, outputs, weights", "average_accuracy"): [1, 1],
            ("kernels, outputs, weights", "kernel_distance"): [1, 1],
            ("outputs, weights", "average_accuracy"): [1, 1],
        }


class TestMeasure:
    def test_a_measure_is_one_tidy_table(self, smoke_runs):
        table = smoke_runs.measure("accuracy_matrix")
        assert list(table.columns) == [
            "run", "regime", "seed", "condition", "checkpoint", "eval_task", "step", "accuracy_matrix",
        ]  # fmt: skip
        assert len(table) == 4 * 2 * 2
        stored = pd.concat(pd.read_parquet(run.path / "metrics.parquet") for run in smoke_runs)
        stored = stored[stored.metric == "test_accuracy"].set_index(["run", "checkpoint", "eval_task"]).value
        for row in table.itertuples():
            assert row.accuracy_matrix == stored[row.run, row.checkpoint, row.eval_task]

    def test_options_reach_the_measure(self, smoke_runs):
        to_init, to_previous = (
            smoke_runs.measure("kernel_distance", reference=reference).set_index(
                ["run", "checkpoint", "eval_task"]
            )
            for reference in ("init", "previous")
        )
        first, last = (pd.IndexSlice[:, checkpoint, :] for checkpoint in ("task0", "task1"))
        assert to_init.loc[first].equals(to_previous.loc[first])
        assert (to_init.loc[last] != to_previous.loc[last]).kernel_distance.all()

    def test_a_measure_without_dimensions_is_one_row_a_run(self, smoke_runs, register_measure):
        def chance_level(metrics):
            """What knowing nothing gets."""
            return xr.DataArray(metrics.attrs["chance"])

        register_measure(chance_level)
        table = smoke_runs.measure("chance_level")
        assert table.chance_level.tolist() == [0.1] * 4
        assert list(table.columns) == ["run", "regime", "seed", "condition", "chance_level"]

    def test_a_measure_that_returns_a_bare_number_is_told_what_to_return(self, smoke_runs, register_measure):
        def bare(metrics):
            """A bare number."""
            return 0.5

        register_measure(bare)
        with pytest.raises(
            DataError, match=r"measure 'bare' in .*expected an xarray DataArray or Dataset back, found float"
        ):
            smoke_runs.measure("bare")

    def test_losses_and_schedule_can_be_measured_too(self, smoke_runs, register_measure):
        def steps_per_phase(losses, schedule):
            """Optimizer steps a phase."""
            return xr.DataArray(losses.sizes["step"] / schedule.trained.any("eval_task").sum())

        register_measure(steps_per_phase)
        assert smoke_runs.scalars(["steps_per_phase"]).value.tolist() == [66.0] * 4

    def test_an_unknown_measure(self, smoke_runs):
        with pytest.raises(UnknownName, match="did you mean 'forgetting'"):
            smoke_runs.measure("forgeting")

    def test_a_fact_that_was_not_recorded_says_what_to_add(self, tmp_path):
        runs = clntk.run("smoke", QUICK, store=tmp_path)
        message = (
            "holds no 'kernels', only .*outputs.*; add kernels to the protocol's probes and run it again"
        )
        for ask in (
            lambda: runs.measure("kernel_distance"),
            lambda: runs.scalars(["kernel_distance"]),
            lambda: clntk.compare_regimes(runs, ["kernel_distance"]),
        ):
            with pytest.raises(StoreError, match=message):
                ask()

    def test_no_runs_are_an_error_not_a_table(self):
        for ask in (
            lambda: RunSet([]).measure("forgetting"),
            lambda: RunSet([]).scalars(),
            lambda: clntk.compare_regimes(RunSet([])),
        ):
            with pytest.raises(StoreError, match="expected finished runs"):
                ask()


class TestScalars:
    def test_one_number_a_run_and_measure(self, smoke_runs):
        table = smoke_runs.scalars(["average_accuracy", "forgetting"])
        assert list(table.columns) == ["run", "regime", "seed", "condition", "measure", "value"]
        assert len(table) == 8
        matrix = smoke_runs.runs[0].fact("metrics")["test_accuracy"]
        mine = table[table.run == smoke_runs.runs[0].run_id].set_index("measure").value
        assert mine["average_accuracy"] == pytest.approx(float(matrix.sel(checkpoint="task1").mean()))
        lost = matrix.sel(eval_task="task0")
        assert mine["forgetting"] == pytest.approx(
            float(lost.sel(checkpoint="task0") - lost.sel(checkpoint="task1"))
        )

    def test_by_default_the_measures_are_those_of_the_protocol(self, smoke_runs):
        asked = [measure["name"] for measure in smoke_runs.runs[0].spec.measures]
        found = dict.fromkeys(name.partition(".")[0] for name in smoke_runs.scalars().measure)
        assert list(found) == asked

    def test_without_any_they_are_all_that_can_be_computed(self, write_protocol, tmp_path):
        path = write_protocol(tmp_path, measures=[], probes=["kernels"])
        names = {m["name"] for m in clntk.run(path, store=tmp_path / "runs").default_measures()}
        assert {"forgetting", "kernel_distance", "relative_weight_change"} <= names
        assert "unit_tuning" not in names

    def test_nor_are_those_that_are_for_other_tasks(self, write_protocol, tmp_path):
        stream = {"name": "permuted_digits", "n_tasks": 2, "n_probe": 4}
        runs = clntk.run(write_protocol(tmp_path, measures=[], stream=stream), store=tmp_path / "runs")
        with pytest.raises(DataError, match="expected inputs that tell the context"):
            runs.measure("context_correlation")
        assert "context_correlation" not in {m["name"] for m in runs.default_measures()}
        assert len(runs.scalars())

    def test_options_of_a_measure_are_passed(self, smoke_runs):
        for reference in ("init", "previous"):
            table = smoke_runs.measure("kernel_distance", reference=reference)
            last = table[table.checkpoint == "task1"].groupby("run", sort=False).kernel_distance.mean()
            asked = smoke_runs.scalars([{"name": "kernel_distance", "reference": reference}])
            assert asked.value.tolist() == pytest.approx(last.tolist())

    def test_rich_moves_its_kernel_further_than_lazy(self, smoke_runs):
        table = clntk.compare_regimes(smoke_runs).set_index(["measure", "regime"])
        for measure in ("kernel_distance", "relative_weight_change"):
            assert table.estimate[measure, "rich"] > 10 * table.estimate[measure, "lazy"]
        assert (table.baseline == "rich").all()


def test_conditions_are_named_by_the_shortest_keys_that_tell_them_apart():
    def spec(**parts):
        named = {part: {"name": "n", **parts.get(part, {})} for part in ("stream", "model", "strategy")}
        return RunSpec("p", "rich", 0, *named.values(), {"name": "standard"}, [], regimes=["rich"])

    width, other = spec(model={"width": 4}), spec(model={"width": 8}, strategy={"name": "ewc"})
    conditions = Conditions([width, other])
    assert [conditions.name(s) for s in (width, other)] == [
        "rich, width=4, strategy=n",
        "rich, width=8, strategy=ewc",
    ]
    width, other = (
        spec(model={"width": 4}, stream={"width": 1}),
        spec(model={"width": 8}, stream={"width": 2}),
    )
    assert Conditions([width, other]).name(other) == "rich, stream.width=2, model.width=8"


def test_a_measure_is_computed_once_a_run_and_set_of_options(smoke_runs):
    calls = []

    @registry.register("measure")
    def counted(outputs, *, by: float = 1.0) -> xr.DataArray:
        """How often it was asked."""
        calls.append(by)
        return xr.DataArray(by)

    runs = RunSet([Run(next(iter(smoke_runs)).path)])
    for options in ({}, {}, {"by": 2.0}, {"by": 2.0}):
        assert runs.measure("counted", **options)["counted"].tolist() == [options.get("by", 1.0)]
        runs.where({}).scalars([{"name": "counted", **options}])
    assert calls == [1.0, 2.0]
