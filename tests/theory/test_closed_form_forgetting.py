"""The analysis of kernel forecasts: what it says is what the forecasts are, and of other runs it says so."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clntk
from clntk.analyze import analyze
from clntk.errors import NotApplicable
from clntk.stats.phrases import number

WHOLE = {"name": "naive", "epochs": 15, "batch_size": None, "lr": 0.2}
BOTH = {"lazy": {"name": "linearized"}, "rich": {"name": "standard"}}


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_it_says_how_well_and_from_where(one_run):
    runs = one_run(WHOLE, regimes=BOTH, seeds=2)
    answer = analyze("closed_form_forgetting", runs)
    table = clntk.predict_forgetting(runs)
    np.testing.assert_array_equal(answer.table.departure, table.departure)
    assert "Kernel at initialisation, 12 points: R² = " in answer.text
    last = table[(table.checkpoint == "task2") & (table.kernel == "init")].groupby("regime").departure.mean()
    for regime, end in (("lazy", "never beyond 0.1"), ("rich", "first beyond 0.1 after task0")):
        assert f"{regime} by the kernel at initialisation: R² = " in answer.text
        line = next(
            line for line in answer.text.splitlines() if line.startswith(f"{regime} by the kernel at init")
        )
        assert f"departure after the last phase {number(last[regime])} [" in line
        assert f"(n = 2), {end}." in line
    assert "Kernels are of 100% of the training data" in answer.caption
    assert "Without a prediction" not in answer.text


def test_its_options_choose_the_examples(one_run):
    runs = one_run(WHOLE, regimes=BOTH, seeds=2)
    some = analyze("closed_form_forgetting", runs, examples=4)
    assert (some.table.share == 4 / 9).all()
    assert "Kernels are of 44% of the training data" in some.caption
    probes = analyze("closed_form_forgetting", runs, on="probes")
    assert "Kernels are of the probes" in probes.caption
    np.testing.assert_array_equal(
        probes.table.departure, clntk.predict_forgetting(runs, on="probes").departure
    )


def test_predictions_without_bound_are_left_out_and_told(one_run):
    options = {
        "model": {"name": "mlp", "width": 8, "activation": "tanh"},
        "regimes": {"rich": {"name": "standard"}},
    }
    stream = {"name": "noise", "values": True, "n_tasks": 3}
    runs = one_run(WHOLE | {"lr": 0.4, "epochs": 200}, stream=stream, **options)
    wild = clntk.predict_forgetting(runs).departure > 10
    assert wild.any()
    answer = analyze("closed_form_forgetting", runs)
    assert answer.table.predicted.isna().equals(wild)
    assert f"Without a prediction: {wild.sum()} of {len(wild)} (" in answer.text


def test_where_nothing_could_be_forgotten_or_foretold_it_is_not_for_these_runs(one_run):
    with pytest.raises(NotApplicable, match="no run learned a task before another"):
        analyze("closed_form_forgetting", one_run(WHOLE | {"name": "joint"}))
    adam = one_run(WHOLE | {"optimizer": "adam", "lr": 0.001, "epochs": 2})
    with pytest.raises(NotApplicable, match=r"found no run of it; take strategy\.optimizer=sgd"):
        analyze("closed_form_forgetting", adam)
