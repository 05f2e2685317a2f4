"""Published runs beside the closed form of fixed kernels, and beside their infinitely wide twin."""

import numpy as np
import pytest
import torch

import clntk
from clntk import InfiniteSpec, RunSet, infinite_nngp, infinite_ntk
from clntk.errors import DataError, StoreError
from clntk.runs.closed_form import closed_form
from clntk.runs.infinite import infinite_kernels
from clntk.runs.training_data import training_sets

WHOLE = {"name": "naive", "epochs": 20, "batch_size": None, "lr": 0.1, "loss": "squared_error"}
VALUES = {"name": "noise", "values": True, "n_tasks": 2}
STANDARD = {"it": {"name": "standard"}}
SEEN = ["weights", "outputs", "kernels"]
NTK = {"it": {"name": "ntk_parametrization", "sigma_w": [1.5, 1.2, 1.0], "sigma_b": 0.3}}
WAYS = {
    "values": {"stream": VALUES},
    "labels": {"stream": {"name": "noise"}, "strategy": WHOLE | {"lr": 0.05}},
    "all tasks at once": {"stream": VALUES | {"schedule": "joint"}},
    "a task twice": {"stream": VALUES | {"schedule": "cyclic"}},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("on", ["train", "probes"])
def test_a_lazy_network_is_its_closed_form_at_every_checkpoint(way, on, one_run):
    (run,) = one_run(**{"strategy": WHOLE} | WAYS[way])
    found = run.fact("closed_form")[on]
    moved = np.linalg.norm(found.actual - found.actual[0], axis=(-2, -1))
    assert (moved[1:] > 0.05).all()
    predicted = found.predicted.sel(kernel="empirical")
    np.testing.assert_allclose(predicted, found.actual, atol=2e-5)
    departure = RunSet([run]).measure("closed_form_departure", on=on).set_index("checkpoint")
    assert departure.closed_form_departure["init"].isnull().all()
    assert (departure.drop(index="init").closed_form_departure < 1e-3).all()


def descended(kernel, f, y, examples, steps, lr):
    """Outputs (R, C) after steps on the mean over these examples, one by one; the kernel is (R, C, R, C)."""
    f = f.copy()
    for _ in range(steps):
        f -= lr / len(examples) * np.einsum("ncmd,md->nc", kernel[:, :, examples], (f - y)[examples])
    return f


def jacobian(network, x):
    """Of every output by every weight, one backward pass each: (R, C, weights)."""
    rows = [
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(out, list(network.parameters()))])
            for out in (network(example[None])[0, c] for c in range(2))
        ]
        for example in x
    ]
    return torch.stack([torch.stack(row) for row in rows]).numpy()


@pytest.fixture
def parts(one_run):
    """A network that is not lazy, on all of its examples: training examples of both tasks, then probes."""
    (run,) = one_run(WHOLE, stream=VALUES, regimes=NTK, model={"name": "mlp", "width": 8}, probes=SEEN)
    seen, probes = training_sets(run, 100)[0], run.probe_sets
    x = torch.cat([*seen.inputs.values(), *probes.inputs.values()]).double()
    y = np.zeros((len(x), 2))
    y[:18] = torch.cat(list(seen.targets.values())).numpy()
    return run, run.network("init").double(), x, y


@pytest.mark.parametrize("kernel", ["empirical", "infinite"])
def test_the_closed_form_is_descent_step_by_step(kernel, parts):
    run, network, x, y = parts
    if kernel == "empirical":
        rows = jacobian(network, x)
        full = np.einsum("ncp,mdp->ncmd", rows, rows)
    else:
        spec = InfiniteSpec.fully_connected(depth=2, sigma_w=[1.5, 1.2, 1.0], sigma_b=0.3)
        full = np.einsum("nm,cd->ncmd", infinite_ntk(spec, x).numpy(), np.eye(2))
    start = network(x).detach().numpy()
    first = descended(full, start, y, np.arange(9), 20, 0.1)
    both = descended(full, first, y, np.arange(9, 18), 20, 0.1)
    found = run.fact("closed_form")
    for on, rows in (("train", slice(0, 18)), ("probes", slice(18, None))):
        expected = np.stack([f[rows].reshape(2, -1, 2) for f in (start, first, both)])
        np.testing.assert_allclose(found[on].predicted.sel(kernel=kernel), expected, atol=1e-8)


def test_what_was_is_what_the_networks_of_the_run_say(parts):
    run, _, x, y = parts
    found = run.fact("closed_form")
    for k, label in enumerate(run.checkpoints):
        outputs = run.network(label).double()(x).detach().numpy()
        np.testing.assert_allclose(found["train"].actual[k], outputs[:18].reshape(2, 9, 2), atol=1e-12)
        np.testing.assert_allclose(found["probes"].actual[k], outputs[18:].reshape(2, 6, 2), atol=1e-12)
    assert found["probes"].step.values.tolist() == [0, 20, 40]
    assert found["train"].eval_task.values.tolist() == ["task0", "task1"]
    assert y.any()


def test_a_departure_by_hand(parts):
    run, *_ = parts
    for kernel in ("empirical", "infinite"):
        found = run.fact("closed_form")["train"]
        off = np.linalg.norm(found.actual - found.predicted.sel(kernel=kernel), axis=(-2, -1))
        moved = np.linalg.norm(found.actual - found.actual[0], axis=(-2, -1))
        table = RunSet([run]).measure("closed_form_departure", kernel=kernel)
        measured = table.closed_form_departure.to_numpy().reshape(3, 2)
        np.testing.assert_allclose(measured[1:], off[1:] / moved[1:])
        assert measured[-1].mean() > 0.01


def test_it_says_what_kernel_forecasts_say_step_by_step(parts):
    run, *_ = parts
    forecast = run.fact("kernel_forecast").predicted.sel(kernel="init")
    own = run.fact("closed_form")["probes"].predicted.sel(kernel="empirical")[1:]
    np.testing.assert_allclose(
        own, forecast.transpose("checkpoint", "eval_task", "probe", "output"), atol=1e-9
    )


def test_a_prediction_that_diverges_is_nan_and_the_run_is_as_it_was(one_run):
    options = {"stream": VALUES, "regimes": STANDARD}
    model = {"name": "mlp", "width": 8, "activation": "tanh"}
    (run,) = one_run(WHOLE | {"lr": 0.7, "epochs": 1000}, model=model, **options)
    for found in run.fact("closed_form").values():
        assert found.actual.notnull().all()
        assert found.predicted.sel(kernel="empirical")[0].notnull().all()
        assert found.predicted.sel(kernel="empirical")[2].isnull().all()


# --- the twin ---------------------------------------------------------------------------------------------


def test_infinite_kernels_are_blocks_of_the_twin_summed_over_outputs(parts):
    run, *_ = parts
    spec = InfiniteSpec.fully_connected(depth=2, sigma_w=[1.5, 1.2, 1.0], sigma_b=0.3)
    found, x = infinite_kernels(run), run.probe_sets.inputs
    assert found.ntk.dims == run.fact("kernels").dims[1:]
    for s in x:
        for t in x:
            block = found.sel(eval_task=s, other_task=t)
            np.testing.assert_allclose(block.ntk, 2 * infinite_ntk(spec, x[s], x[t]), rtol=1e-6)
            np.testing.assert_allclose(block.nngp, 2 * infinite_nngp(spec, x[s], x[t]), rtol=1e-6)


def test_the_twin_is_of_the_network_before_training(one_run):
    (run,) = one_run(WHOLE, stream=VALUES, regimes=STANDARD, probes=SEEN)
    x = run.probe_sets.inputs["task1"]
    first, last = (2 * infinite_ntk(run.network(run.checkpoints[k]), x) for k in (0, -1))
    found = infinite_kernels(run).ntk.sel(eval_task="task1", other_task="task1")
    np.testing.assert_allclose(found, first, rtol=1e-6)
    assert not np.allclose(found, last, rtol=1e-3)


def test_the_kernel_error_falls_with_width(one_run):
    errors = {}
    for width in (8, 512):
        model = {"name": "mlp", "width": width}
        runs = one_run(WHOLE | {"epochs": 1}, stream=VALUES, regimes=NTK, model=model, probes=SEEN)
        errors[width] = runs.scalars(["infinite_kernel_error"]).value.item()
    assert errors[512] < errors[8] / 3  # in theory an eighth


def test_what_has_no_twin_still_has_its_own_closed_form(one_run):
    model = {"name": "mlp", "width": 8, "bias_init": 0.5}
    runs = one_run(WHOLE, stream=VALUES | {"cue": 1.0}, model=model, regimes={"it": {"name": "mean_field"}})
    (run,) = runs
    with pytest.raises(StoreError, match=r"has no infinitely wide twin: infinite width, "):
        run.fact("infinite_kernels")
    assert runs.scalars(["closed_form_departure"]).value.notnull().all()
    with pytest.raises(DataError, match=r"expected 'empirical', found 'infinite'. .*no infinitely wide twin"):
        runs.measure("closed_form_departure", kernel="infinite")


def test_a_network_that_depends_on_its_task_has_no_twin(one_run):
    (run,) = one_run({"name": "xdg", "epochs": 1, "loss": "squared_error"}, stream=VALUES, regimes=STANDARD)
    with pytest.raises(StoreError, match=r"found one that xdg makes depend on the task"):
        infinite_kernels(run)


# --- refusals ---------------------------------------------------------------------------------------------

MULTI = {"name": "gaussian_tasks", "n_features": 4, "n_train": 10, "n_test": 6, "n_probe": 6, "head": "multi"}
REFUSED = {
    "loss": (WHOLE | {"loss": "cross_entropy"}, {}, "expected a run trained on squared_error, found cross_"),
    "sum": (WHOLE | {"loss": "sum_squared_error"}, {}, "found sum_squared_error"),
    "heads": (WHOLE, {"stream": MULTI}, "whose tasks share all outputs, found that each task has outputs"),
    "adam": (WHOLE | {"optimizer": "adam"}, {}, "trained by gradient descent, found the optimizer adam"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_training_without_a_closed_form_is_refused(what, one_run):
    strategy, keys, message = REFUSED[what]
    (run,) = one_run(strategy | {"epochs": 1, "lr": 0.01}, **({"regimes": STANDARD} | keys))
    with pytest.raises(StoreError, match=f"{message}.*take clntk.predict_forgetting"):
        closed_form(run)


def test_a_kernel_of_too_many_rows_is_refused(one_run, monkeypatch):
    (run,) = one_run(WHOLE, stream=VALUES)
    rows = 2 * (9 + 6) * 2
    monkeypatch.setattr("clntk.runs.closed_form.ROWS", rows)
    closed_form(run)
    monkeypatch.setattr("clntk.runs.closed_form.ROWS", rows - 1)
    with pytest.raises(StoreError, match=r"at most 59 rows of a kernel, found 30 .* of 2 outputs, 60 rows"):
        closed_form(run)
    assert clntk.RunSet([run])
