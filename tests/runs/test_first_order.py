"""First-order facts of published runs: what was recorded, and a lazy network whose training theory knows in full."""

import numpy as np
import pytest
import xarray as xr

import clntk
from clntk.measures.laziness import linearisation_error
from clntk.measures.predicted_change import predicted_output_change, prediction_fit
from clntk.measures.predicted_forgetting import predicted_forgetting
from clntk.runs.first_order import gradients, layer_kernels, linearisation, output_changes

SEEN_WHOLE = '''
"""Tasks whose probes are all of their training data, so that a kernel on the probes knows everything."""

import torch

from clntk import register
from clntk.streams.base import Split, Task, TaskStream


@register("stream")
def seen_whole(seeds):
    """Noise to be learned by heart."""
    g = torch.Generator().manual_seed(seeds.seed)
    split = lambda: Split(torch.randn(8, 4, generator=g), torch.randint(3, (8,), generator=g))
    return TaskStream(tuple(Task(f"task{t}", s, s, s) for t, s in enumerate(split() for _ in range(2))))
'''
FLAT = {"name": "gaussian_tasks", "n_tasks": 2, "n_features": 5, "n_train": 30, "n_test": 20, "n_probe": 8}
PLAIN = {"name": "naive", "epochs": 1, "batch_size": 10, "lr": 0.2}


@pytest.fixture(scope="module")
def one_run(tmp_path_factory, write_protocol):
    def make(strategy=PLAIN, **keys):
        folder = tmp_path_factory.mktemp("run")
        (folder / "streams.py").write_text(SEEN_WHOLE)
        keys = {"stream": FLAT, "model": {"name": "mlp", "width": 6}, "measures": [], "seeds": 1} | keys
        path = write_protocol(folder, strategy=strategy, use=["./streams.py"], **keys)
        (run,) = clntk.run(path, store=folder / "runs")
        return run

    return make


WAYS = {
    "one head": {},
    "many heads": {"stream": FLAT | {"head": "multi"}},
    "gates": {"strategy": PLAIN | {"name": "xdg", "gated": 0.5}},
    "scaled outputs": {"regimes": {"it": {"name": "output_scale", "alpha": 10.0}}},
    "features that stay": {"regimes": {"it": {"name": "frozen_features"}}},
}


@pytest.mark.parametrize("way", WAYS)
def test_facts_continue_the_recorded_outputs(way, one_run):
    run = one_run(**WAYS[way])
    recorded = run.fact("outputs")
    facts, expansion = output_changes(run), linearisation(run)
    near = {"rtol": 1e-4, "atol": 1e-5 * float(np.abs(recorded).max())}  # recorded in single precision
    labels = recorded.checkpoint.values
    assert facts.checkpoint.values.tolist() == labels[1:].tolist()
    assert facts.step.values.tolist() == recorded.step.values[1:].tolist()
    assert facts.task.values.tolist() == recorded.task.values[1:].tolist()
    assert facts.trained.values.tolist() == [[True, False], [False, True]]
    np.testing.assert_allclose(facts.before, recorded[:-1], **near)
    np.testing.assert_allclose(facts.before + facts.actual, recorded[1:], **near)
    np.testing.assert_allclose(expansion.outputs, recorded, **near)
    np.testing.assert_allclose(expansion.start, recorded[[0] * len(labels)], **near)
    # θ is the same at the start of the first interval and of the expansion
    first = predicted_output_change(facts, rule="start", since="previous").predicted[0]
    np.testing.assert_allclose(first, (expansion.linear - expansion.start)[1], rtol=1e-6, atol=1e-12)
    error = linearisation_error(expansion)
    assert error[0].isnull().all()
    after_training = error[1:].values[facts.trained.values]
    assert ((after_training == 0) if way == "features that stay" else (after_training > 0)).all()


def test_gradients_of_the_loss_in_each_head_alone(one_run):
    run = one_run(**WAYS["many heads"])
    products = gradients(run)
    assert products.dims == ("checkpoint", "layer", "eval_task", "other_task")
    assert products.checkpoint.values.tolist() == run.checkpoints
    assert products.step.values.tolist() == run.fact("outputs").step.values.tolist()
    # each task has rows of the read-out for itself
    apart = products.sel(layer="readout", eval_task=products.eval_task[0], other_task=products.eval_task[1])
    np.testing.assert_allclose(apart, 0, atol=1e-12)
    own = products.sel(eval_task=products.eval_task[0], other_task=products.eval_task[0])
    assert (own > 0).all()


def test_kernels_by_layer_recorded_and_computed_again(one_run):
    run = one_run(probes=["layer_kernels", "kernels"], **WAYS["gates"])
    recorded, again = run.fact("layer_kernels"), layer_kernels(run)
    for name in ("norm", "projection"):
        xr.testing.assert_allclose(again[name], recorded[name])
    blocks = run.fact("kernels")
    np.testing.assert_allclose(recorded["projection"].sum("layer"), (blocks**2).sum(["probe", "other_probe"]))
    assert float(np.abs(recorded["norm"].diff("checkpoint")).max()) > 0


def test_measures_find_these_facts_by_themselves(one_run):
    run = one_run()
    runs = clntk.RunSet([run])
    measures = ["gradient_cosine", "gradient_dot", "linearisation_error", "layer_interference"]
    measures += ["predicted_output_change", "prediction_fit", "predicted_forgetting"]
    assert runs.scalars(measures).value.notnull().all()
    for measure in measures:
        assert len(runs.measure(measure))


LEARNED = {"name": "naive", "epochs": 25, "batch_size": None, "lr": 0.3}
LAZY = {"stream": {"name": "seen_whole"}, "regimes": {"lazy": {"name": "linearized"}}}


@pytest.mark.parametrize(
    "strategy",
    [
        LEARNED,
        LEARNED | {"name": "joint"},
        LEARNED | {"loss": "sum_squared_error", "batch_size": 8, "lr": 0.01},
    ],
    ids=["one task after another", "all together", "summed loss"],
)
def test_the_kernel_knows_how_a_lazy_network_trained_on_its_probes_changes(strategy, one_run):
    run = one_run(strategy, **LAZY)
    facts = output_changes(run)
    for theory in ("tangent", "kernel"):
        result = prediction_fit(facts, theory=theory, since="init")
        assert float(result.relative_error.max()) < 1e-3, theory  # trained in single precision
        np.testing.assert_allclose(result.slope, 1.0, rtol=1e-3)
    assert (linearisation_error(linearisation(run))[1:] == 0).all()


def test_the_regime_sets_the_step(one_run):
    """A lazy network whose outputs are scaled by α is trained at a learning rate divided by α²."""
    regime = {"lazy": {"name": "output_scale", "alpha": 1000.0}}
    smooth = {"name": "mlp", "width": 6, "activation": "tanh"}
    facts = output_changes(one_run(LEARNED, stream={"name": "seen_whole"}, model=smooth, regimes=regime))
    assert float(prediction_fit(facts, theory="kernel", since="init").relative_error.max()) < 0.02


def test_predicted_forgetting_of_a_lazy_network_is_what_it_forgot(one_run):
    run = one_run(LEARNED, **LAZY)
    result = predicted_forgetting(output_changes(run), run.fact("probes"), theory="kernel")
    assert result.actual[0].isnull().all()
    lost = result.isel(checkpoint=1, eval_task=0)
    assert float(lost.actual.mean()) > 0.1
    np.testing.assert_allclose(lost.predicted, lost.actual, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"optimizer": "adam", "lr": 0.01}, {"loss": "sum_squared_error", "batch_size": None, "lr": 0.001}],
    ids=["adam", "a sum over a phase"],
)
def test_no_kernel_prediction_where_the_step_is_not_known(options, one_run):
    facts = output_changes(one_run(PLAIN | options))
    assert facts.kernel_start.isnull().all()
    assert facts.tangent_start.notnull().all()


def test_momentum_makes_steps_longer(one_run):
    """Once it has built up, each step is of η/(1 − momentum): small, many steps come out as without it."""
    slow = LEARNED | {"epochs": 200, "lr": 0.008, "momentum": 0.5}
    result = prediction_fit(output_changes(one_run(slow, **LAZY)), theory="kernel", since="init")
    np.testing.assert_allclose(result.slope, 1.0, atol=0.02)
