"""Linearised networks in training, by every strategy; and of those that have one, the closed form."""

import numpy as np
import pytest
import torch
from kinds_of_strategies import descending

import clntk
from clntk import registry
from clntk.errors import DataError
from clntk.kernels.empirical import empirical_ntk
from clntk.runs.training_data import training_sets
from clntk.strategies.learner import Setup
from clntk.streams.presentation import cued
from clntk.theory.continual import continual_regression
from clntk.theory.projection import StoredGradients
from clntk.theory.schedules import GradientDescent

CONTEXT = {"context_gating", "hebbian_gating"}  # need columns that hold the context
GATED = {"xdg", *CONTEXT}  # their network depends on the task
BY_WEIGHT = {
    "cwr_star",
    "packnet",
}  # give single weights away, which in an expansion are no function of their own


@pytest.mark.parametrize("strategy", descending())
def test_a_linearised_network_is_trained_by_every_strategy(strategy, stream, make_model):
    chosen = cued(stream, 2.0) if strategy in CONTEXT else stream
    model = clntk.linearize(make_model(chosen))
    x = chosen.tasks[0].probe.x
    kernel = empirical_ntk(model, x)
    before = [p.detach().clone() for p in model.parameters()]
    options = {"epochs": 2, "batch_size": 16, "lr": 0.02}
    if strategy in BY_WEIGHT:
        with pytest.raises(DataError, match=f"strategy {strategy}: expected a network without a frozen copy"):
            registry.get("strategy", strategy)(Setup(model, chosen), **options)
        return
    learner = registry.get("strategy", strategy)(Setup(model, chosen), **options)
    torch.manual_seed(1)
    for phase in learner.stream.phases:
        learner.train(phase)
    after = list(learner.model.parameters())
    assert all(torch.isfinite(p).all() for p in after)
    assert any(not torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    if strategy not in GATED:
        torch.testing.assert_close(empirical_ntk(model, x), kernel)


ORTHOGONAL = {
    "ogd": ({"gradients": 100, "logits": "all"}, StoredGradients()),
    "pca_ogd": ({"gradients": 5, "logits": "all", "pca_samples": 100}, StoredGradients(directions=5)),
    "naive": ({}, None),
}


@pytest.mark.parametrize("strategy", ORTHOGONAL)
def test_measured_forgetting_is_predicted_from_the_kernel_alone(strategy, one_run):
    """R7: linearised networks, in single precision, on values; all of the training data is stored, or its best part."""
    options, stored = ORTHOGONAL[strategy]
    training = {"name": strategy, "epochs": 60, "batch_size": None, "lr": 0.05, **options}
    (run,) = one_run(training, stream={"name": "noise", "values": True}, model={"name": "mlp", "width": 16})
    (seen, _), network = training_sets(run, 100), run.network("init").double()
    x, probes = (torch.cat(list(sets.inputs.values())).double() for sets in (seen, run.probe_sets))
    found = continual_regression(
        empirical_ntk(network, x),
        list(seen.targets.values()),
        GradientDescent(60, 0.05, "mean"),
        start=network(x).split(9),
        test_kernel=empirical_ntk(network, probes, x),
        test_targets=list(run.probe_sets.targets.values()),
        test_start=network(probes).split(6),
        stored=stored,
    )
    trained = [run.network(label).double() for label in run.checkpoints]
    for s, task in enumerate(seen.inputs):
        for k, net in enumerate(trained):
            np.testing.assert_allclose(
                net(seen.inputs[task].double()).detach(), found.train.outputs[s][k], atol=1e-4
            )
            on_probes = net(run.probe_sets.inputs[task].double()).detach()
            np.testing.assert_allclose(on_probes, found.test.outputs[s][k], atol=1e-4)
    lost = np.nanmax(np.abs(found.train.forgetting))
    assert lost < 1e-12 if strategy == "ogd" else lost > 1e-2
