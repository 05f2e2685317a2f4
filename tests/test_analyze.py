"""Questions asked of saved runs."""

import matplotlib.pyplot as plt
import pytest

import clntk
from clntk import registry
from clntk.analyze import analyze
from clntk.errors import StoreError, UnknownName
from clntk.figures.answer import Answer
from clntk.runs.runset import RunSet


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", registry.names("analysis"))
def test_every_shipped_analysis_answers(smoke_runs, name):
    answer = analyze(name, smoke_runs)
    assert isinstance(answer, Answer)
    assert answer.title.endswith("?")
    assert len(answer.table)
    assert {"rich", "lazy"} <= set(answer.table.condition)
    for regime in smoke_runs.regimes:
        assert f"{regime} " in answer.text
    assert answer.caption


def test_the_table_holds_what_the_measure_says(smoke_runs):
    answer = analyze("forgetting", smoke_runs)
    assert answer.table.equals(smoke_runs.measure("accuracy_matrix"))


def test_an_analysis_of_ones_own_gets_the_runs_and_its_options(smoke_runs):
    @clntk.register("analysis")
    def how_many(runs, *, unit: str = "runs"):
        """How many runs there are."""
        return f"{len(runs)} {unit}"

    assert analyze("how_many", smoke_runs, unit="pieces") == "4 pieces"


def test_an_unknown_analysis_names_the_nearest(smoke_runs):
    with pytest.raises(UnknownName, match="did you mean 'kernel_drift'"):
        analyze("kernel_drfit", smoke_runs)


def test_no_runs_are_an_error():
    with pytest.raises(StoreError, match="expected finished runs, found none"):
        analyze("forgetting", RunSet([]))


def test_a_fact_that_is_missing_says_what_to_add(write_protocol, tmp_path):
    path = write_protocol(tmp_path, measures=[], probes=["outputs"])
    runs = clntk.run(path, store=tmp_path / "runs")
    with pytest.raises(StoreError, match="add kernels to the protocol's probes and run it again"):
        analyze("kernel_drift", runs)
