"""Kernel forecasts of published runs: exact where theory is, and closed form and training meet."""

import numpy as np
import pytest
import torch

import clntk
from clntk.errors import DataError, StoreError
from clntk.kernels.empirical import empirical_ntk
from clntk.runs.first_order import output_changes, step_size
from clntk.runs.kernel_forecast import forecasts
from clntk.runs.training_data import training_sets
from clntk.theory.blocks import join_blocks
from clntk.theory.continual import continual_regression
from clntk.theory.schedules import GradientDescent

WHOLE = {"name": "naive", "epochs": 20, "batch_size": None, "lr": 0.2}
WAYS = {
    "labels": {},
    "values": {"stream": {"name": "noise", "values": True}, "strategy": WHOLE | {"lr": 0.1}},
    "heads": {
        "stream": {
            "name": "gaussian_tasks",
            "n_tasks": 2,
            "n_features": 4,
            "n_train": 10,
            "n_test": 6,
            "n_probe": 6,
        }
        | {"head": "multi"}
    },
    "all tasks at once": {"strategy": WHOLE | {"name": "joint"}},
    "a task twice": {"stream": {"name": "noise", "n_tasks": 2, "schedule": "cyclic"}},
    "momentum": {"strategy": WHOLE | {"momentum": 0.5, "epochs": 200, "lr": 0.002, "reset_optimizer": True}},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_lazy_network_does_what_both_kernels_predict(way, one_run):
    table = clntk.predict_forgetting(one_run(**{"strategy": WHOLE} | WAYS[way]))
    assert set(table.kernel) == {"init", "task start"}
    close = 0.03 if way == "momentum" else 1e-3  # momentum has first to gather speed
    assert (table.departure < close).all()
    np.testing.assert_allclose(table.predicted, table.actual, atol=close)
    np.testing.assert_allclose(table.predicted_forgetting, table.actual_forgetting, atol=close)
    if way == "all tasks at once":
        assert table.actual_forgetting.isnull().all()
    else:
        assert table.actual_forgetting.abs().max() > 0.01 + close


def test_the_closed_form_says_the_same(one_run):
    """Of values and squared errors, by the kernel of all training and probe examples."""
    (run,) = one_run(**{"strategy": WHOLE} | WAYS["values"])
    seen, network = training_sets(run, 100)[0], run.network("init").double()
    x, probes = (torch.cat(list(sets.inputs.values())).double() for sets in (seen, run.probe_sets))
    found = continual_regression(
        empirical_ntk(network, x),
        list(seen.targets.values()),
        GradientDescent(20, 0.1, "mean"),
        start=network(x).split(9),
        test_kernel=empirical_ntk(network, probes, x),
        test_targets=list(run.probe_sets.targets.values()),
        test_start=network(probes).split(6),
    ).test
    table = clntk.predict_forgetting(clntk.RunSet([run])).set_index(["kernel", "checkpoint", "eval_task"])
    predicted = table.loc["init"]
    np.testing.assert_allclose(predicted.predicted.unstack(), found.losses[1:], atol=1e-10)
    np.testing.assert_allclose(predicted.predicted_forgetting.unstack(), found.forgetting, atol=1e-10)
    outputs = np.stack([row["init"] for row in forecasts(run, seen)])
    np.testing.assert_allclose(outputs, np.stack(found.outputs, axis=1)[1:], atol=1e-10)
    assert join_blocks([[np.eye(2)]]).shape == (2, 2)


def test_a_rich_network_parts_from_its_first_kernel_more_than_from_the_last(one_run):
    rich = {"it": {"name": "standard"}}
    run = one_run(WHOLE | {"epochs": 60, "lr": 0.5}, regimes=rich, model={"name": "mlp", "width": 16})
    table = clntk.predict_forgetting(run)
    last = table[table.checkpoint == "task2"].groupby("kernel").departure.mean()
    assert last["init"] > 0.05
    first = table[table.checkpoint == "task0"].groupby("kernel").departure.mean()
    assert first["init"] == first["task start"]
    off = (table.predicted - table.actual).abs().groupby(table.kernel).mean()
    assert off["task start"] < off["init"]


def test_by_hand(one_run):
    run = one_run(WHOLE, regimes={"it": {"name": "standard"}})
    table = clntk.predict_forgetting(run).set_index(["kernel", "checkpoint", "eval_task"])
    (only,) = run
    outputs, probes = only.fact("outputs"), only.fact("probes")
    f, y = torch.from_numpy(outputs.values).double(), torch.from_numpy(probes.targets.values)
    losses = [[torch.nn.functional.cross_entropy(f[k, t], y[t]).item() for t in range(3)] for k in range(4)]
    for kernel in ("init", "task start"):
        rows = table.loc[kernel]
        np.testing.assert_allclose(rows.actual.unstack(), losses[1:], atol=1e-5)
        lost = [
            [losses[k][t] - losses[t + 1][t] if k > t + 1 else np.nan for t in range(3)] for k in (1, 2, 3)
        ]
        np.testing.assert_allclose(rows.actual_forgetting.unstack(), lost, atol=1e-5)
        np.testing.assert_array_equal(rows.trained.unstack(), np.eye(3, dtype=bool))
        np.testing.assert_array_equal(rows.step.unstack(), [[20] * 3, [40] * 3, [60] * 3])
        known = rows.predicted if kernel == "init" else rows.actual
        grown = rows.predicted[("task2", "task0")] - known[("task0", "task0")]
        assert rows.predicted_forgetting[("task2", "task0")] == pytest.approx(grown)
    *_, end = forecasts(only, training_sets(only, 100)[0])
    off = np.linalg.norm(end["task start"] - end["actual"], axis=(1, 2))
    moved = np.linalg.norm(outputs[3] - outputs[2], axis=(1, 2))
    np.testing.assert_allclose(table.loc["task start"].departure["task2"], off / moved, rtol=1e-4)


def test_on_probes_it_is_the_fact_of_the_run(one_run):
    (run,) = one_run(WHOLE, regimes={"it": {"name": "standard"}})
    facts = output_changes(run)
    for row, fact in zip(
        forecasts(run, run.probe_sets), facts.transpose("checkpoint", ...).checkpoint, strict=True
    ):
        known = facts.sel(checkpoint=fact)
        np.testing.assert_allclose(row["task start"], known.before + known.kernel_start, atol=1e-12)
        np.testing.assert_allclose(row["task start, from"], known.before, atol=1e-12)
    table = clntk.predict_forgetting(clntk.RunSet([run]), on="probes")
    assert len(table) == 2 * 3 * 3
    assert not np.allclose(table.predicted, clntk.predict_forgetting(clntk.RunSet([run])).predicted)


def test_examples_are_drawn_by_the_seed(one_run):
    (run,) = one_run(WHOLE)
    all_, some, again = (training_sets(run, n)[0].inputs["task1"] for n in (100, 4, 4))
    other = training_sets(run, 4, seed=1)[0].inputs["task1"]
    assert (len(all_), len(some)) == (9, 4)
    assert torch.equal(some, again)
    assert not torch.equal(some, other)
    assert all(any(torch.equal(row, x) for x in all_) for row in some)
    assert [training_sets(run, n)[1] for n in (100, 4)] == [1.0, 4 / 9]


def test_no_prediction_is_nan_and_labels_tell_runs_apart(one_run):
    keys = {"regimes": {"a": {"name": "standard"}, "b": {"name": "init_scale"}}, "seeds": 2}
    table = clntk.predict_forgetting(
        one_run({**WHOLE, "optimizer": "adam", "lr": 0.001, "epochs": 2}, **keys)
    )
    assert table.predicted.isnull().all()
    assert table.departure.isnull().all()
    assert table.actual.notnull().all()
    assert list(table.columns[:3]) == ["run", "regime", "seed"]
    assert len(table.drop_duplicates(["run", "regime", "seed"])) == 4


def test_steps_that_are_too_large_for_the_kernel_predict_nothing(one_run):
    options = {
        "model": {"name": "mlp", "width": 8, "activation": "tanh"},
        "regimes": {"it": {"name": "standard"}},
    }
    stream = {"name": "noise", "values": True, "n_tasks": 2}
    table = clntk.predict_forgetting(one_run(WHOLE | {"lr": 0.7, "epochs": 1000}, stream=stream, **options))
    gone = table[table.kernel == "init"]
    assert gone.predicted.isnull().all()
    assert gone.departure.isnull().all()
    assert table.actual.notnull().all()


def test_kernels_that_are_never_written_out(one_run, monkeypatch):
    run = one_run(WHOLE, regimes={"it": {"name": "standard"}})
    written = clntk.predict_forgetting(run)
    monkeypatch.setattr("clntk.capture.tangents.WRITTEN_OUT", 0)
    monkeypatch.setattr("clntk.capture.tangents.empirical_ntk", None)
    by_factors = clntk.predict_forgetting(run)
    np.testing.assert_allclose(by_factors.predicted, written.predicted, rtol=1e-9)


def test_the_step_of_a_summed_loss(one_run):
    (run,) = one_run(
        WHOLE | {"loss": "sum_squared_error", "batch_size": 3, "lr": 0.01},
        stream={"name": "noise", "values": True},
    )
    assert step_size(run, 9) == pytest.approx(0.01 * 3 / 9)


def test_what_cannot_be_predicted_is_refused(one_run, monkeypatch):
    runs = one_run(WHOLE)
    with pytest.raises(
        DataError, match="expected on='train' or 'probes' and at least 1 example, found 'test', 2000"
    ):
        clntk.predict_forgetting(runs, on="test")
    with pytest.raises(DataError, match="found 'train', 0"):
        clntk.predict_forgetting(runs, examples=0)
    with pytest.raises(StoreError, match="expected finished runs, found none"):
        clntk.predict_forgetting(clntk.RunSet([]))
    (run,) = runs
    monkeypatch.setitem(run.spec.stream, "n_tasks", 3)
    monkeypatch.setitem(run.spec.__dict__, "seed", 5)
    with pytest.raises(StoreError, match=r"found other probes of task0; .* take on='probes'"):
        training_sets(run, 9)
