"""Forecasts of plain training, OGD and PCA-OGD, exact and of published runs; what these strategies keep."""

import numpy as np
import pytest
import torch

import clntk
from clntk import registry
from clntk.errors import StoreError
from clntk.measures.kernel_forecast import judged
from clntk.runs.kept import Directions, kept_outputs
from clntk.runs.kernel_forecast import kernel_forecast
from clntk.runs.opened import Run
from clntk.runs.training_data import built_stream, kept_logits, training_sets
from clntk.strategies.avalanche.gradient_basis import GradientBasis
from clntk.strategies.directions import DRAWN
from clntk.strategies.learner import Setup
from clntk.streams.base import Split, Task, TaskStream

WHOLE = {"epochs": 15, "batch_size": None, "lr": 0.2}
KINDS = {
    "naive": {},
    "ogd": {"gradients": 5},
    "pca_ogd": {"gradients": 4, "pca_samples": 8},
    "ogd of all logits": {"name": "ogd", "gradients": 7, "logits": "all"},
}
TARGETS = {
    "labels": {},
    "one-hot": {"strategy": {"loss": "squared_error", "lr": 0.1}},
    "values": {"stream": {"name": "noise", "values": True}, "strategy": {"lr": 0.1}},
}


@pytest.fixture(scope="module")
def published(one_run):
    """The run of a kind of strategy on kinds of targets."""

    def make(kind, targets="labels", **keys):
        ways = TARGETS[targets]
        strategy = {
            "name": kind,
            **WHOLE,
            **KINDS[kind],
            **ways.get("strategy", {}),
            **keys.pop("strategy", {}),
        }
        (run,) = one_run(strategy, **{k: v for k, v in ways.items() if k != "strategy"}, **keys)
        return run

    return make


def _double(split):
    return Split(split.x.double(), split.y.double() if split.y.is_floating_point() else split.y)


class Exact(Run):
    """A published run, trained once more in double precision."""

    def __init__(self, run):
        super().__init__(run.path)
        stream = built_stream(run)
        tasks = (Task(t.name, *map(_double, t.parts.values())) for t in stream.tasks)
        stream = TaskStream(tuple(tasks), stream.phases, outputs=stream.outputs, target=stream.target)
        options = {k: v for k, v in run.spec.strategy.items() if k != "name"}
        strategy = registry.get("strategy", run.spec.strategy["name"])
        learner = strategy(Setup(run.network("init").double(), stream), **options)
        torch.manual_seed(3)
        plugin = next((p for p in learner.strategy.plugins if isinstance(p, GradientBasis)), None)
        self.weights, self.bases = [self._now(learner)], []
        for phase in stream.phases:
            learner.train(phase)
            self.weights.append(self._now(learner))
            self.bases.append(None if plugin is None else plugin.basis.clone())
        self._facts.update(learner.facts)

    @staticmethod
    def _now(learner):
        return {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}

    def network(self, checkpoint, *, dtype=None):
        network = super().network(checkpoint).double()
        network.load_state_dict(self.weights[self.checkpoints.index(checkpoint)])
        return network


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_are_exact_in_double_precision(kind, targets, published):
    run = Exact(published(kind, targets))
    fact = kernel_forecast(run, training_sets(run, 100)[0])
    found = judged(fact, run.fact("probes"))
    assert float(found.departure.max()) < 1e-8
    lost = found.actual_forgetting.broadcast_like(found.predicted_forgetting)
    np.testing.assert_allclose(found.predicted_forgetting, lost, rtol=1e-8, atol=1e-10)
    assert float(np.abs(lost).max()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_of_published_runs(kind, published):
    run = published(kind)
    table = clntk.predict_forgetting(clntk.RunSet([run]))
    assert (table.departure < 1e-4).all()
    np.testing.assert_allclose(table.predicted_forgetting, table.actual_forgetting, atol=1e-5)
    fewer = clntk.predict_forgetting(clntk.RunSet([run]), on="probes")
    assert fewer.departure.max() > 0.1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "naive"])
def test_directions_are_those_that_the_strategy_kept(kind, published):
    run, found = Exact(published(kind)), Directions()
    for label, logits in zip(run.checkpoints[1:], kept_logits(run), strict=True):
        found = found.with_phase(run, run.network(label), logits)
    theirs = run.bases[-1]
    assert theirs.dtype == torch.float64
    torch.testing.assert_close(found.basis.T @ found.basis, theirs.T @ theirs)
    x = training_sets(run, 4)[0].inputs["task1"].double()
    network = run.network("init")
    torch.testing.assert_close(found.overlaps(network, x, 2), _jacobian(network, x) @ found.basis.T)


def _jacobian(network, x):
    """Logit after logit: (examples · outputs, parameters)."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(f, parameters, retain_graph=True) for f in network(x).flatten()]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).detach()


def _descended(network, task, probes, starts, basis):
    """Outputs on training examples and probes once weights of the linear model have descended, step by step."""
    x, y = task.train.x.double(), torch.nn.functional.one_hot(task.train.y, 2).double()
    sets = [x, probes]
    jacobians, moved = [_jacobian(network, each) for each in sets], 0
    for _ in range(WHOLE["epochs"]):
        f = starts[0] + (jacobians[0] @ moved).view_as(y) if torch.is_tensor(moved) else starts[0]
        gradient = jacobians[0].T @ ((f.softmax(1) - y) / len(y)).flatten()
        moved = moved - 0.5 * (gradient - (0 if basis is None else basis.T @ (basis @ gradient)))
    return [start + (j @ moved).view_as(start) for start, j in zip(starts, jacobians, strict=True)]


def test_a_rich_network_by_hand(published):
    """Each kernel beside the gradients kept as it has them: at initialisation, or as they were when they were kept."""
    run = Exact(published("ogd", regimes={"it": {"name": "standard"}}, strategy={"lr": 0.5}))
    fact = kernel_forecast(run)
    tasks, kept, drawn = built_stream(run).tasks, None, kept_logits(run)
    probes = torch.cat(list(run.probe_sets.inputs.values())).double()
    first = run.network("init")
    everything = torch.cat([task.train.x for task in tasks]).double()
    on_all, on_probes = first(everything).detach(), first(probes).detach()
    for t, task in enumerate(tasks):
        now = run.network(run.checkpoints[t])
        starts = [now(x).detach() for x in (task.train.x.double(), probes)]
        _, expected = _descended(now, task, probes, starts, run.bases[t - 1] if t else None)
        np.testing.assert_allclose(fact["predicted"][1, t], expected.view(3, 6, 2), atol=1e-10)
        # one phase of the whole sequence under the first kernel: outputs on all training data move along
        moved, basis = [], None if kept is None else torch.linalg.qr(kept.T).Q.T
        for x, start in ((everything, on_all), (probes, on_probes)):
            own = on_all.view(3, 9, 2)[t]
            moved.append(_descended(first, task, x, [own, start], basis)[1])
        on_all, on_probes = moved
        np.testing.assert_allclose(fact["predicted"][0, t], on_probes.view(3, 6, 2), atol=1e-10)
        rows = _jacobian(first, drawn[t].x.double()).view(5, 2, -1)[range(5), drawn[t].outputs]
        kept = rows if kept is None else torch.cat([kept, rows])


def test_kernels_that_are_never_written_out(published, monkeypatch):
    run = published("ogd")
    written = kernel_forecast(run)
    monkeypatch.setattr("clntk.capture.tangents.WRITTEN_OUT", 0)
    monkeypatch.setattr("clntk.capture.tangents.empirical_ntk", None)
    np.testing.assert_allclose(kernel_forecast(run)["predicted"], written["predicted"], atol=1e-10)


def test_outputs_outside_a_head_have_no_part_in_the_loss_of_kept_examples(one_run):
    stream = {
        "name": "gaussian_tasks",
        "n_features": 4,
        "n_train": 10,
        "n_test": 6,
        "n_probe": 6,
        "head": "multi",
    }
    (run,) = one_run({"name": "ogd", **WHOLE, "gradients": 5}, stream=stream)
    fact, logits = kept_outputs(run), kept_logits(run)[1]
    f = run.network("task1", dtype=torch.float64)(logits.x.double()).detach()
    losses = torch.nn.functional.cross_entropy(f[:, 2:], logits.y - 2, reduction="none")
    np.testing.assert_allclose(
        fact.sel(kept=fact.since == "task1", checkpoint="task1")["loss"], losses, atol=1e-12
    )
    table = clntk.predict_forgetting(clntk.RunSet([run]))
    assert (table.departure < 1e-4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_that_were_kept_stay(kind, published):
    run = published(kind)
    fact, drawn = kept_outputs(run), kept_logits(run)
    sizes = {"naive": 9, "ogd": 5, "pca_ogd": 8, "ogd of all logits": 7}
    assert fact.sizes == {"checkpoint": 4, "kept": 3 * sizes[kind]}
    assert fact.since.values.tolist() == [f"task{t}" for t in range(3) for _ in range(sizes[kind])]
    measured = registry.get("measure", "kept_forgetting")(fact)
    assert measured.isel(checkpoint=0).isnull().all()
    drift = float(measured["drift"].sel(checkpoint="task2"))
    assert drift < 1e-4 if kind.startswith("ogd") else drift > 0.05
    assert kind == "ogd of all logits" or all(torch.equal(part.outputs, part.y) for part in drawn)
    network, own = run.network("task1", dtype=torch.float64), drawn[0]
    f = network(own.x.double()).detach()
    np.testing.assert_allclose(
        fact["logit"].sel(checkpoint="task1")[: sizes[kind]], f[range(len(f)), own.outputs], atol=1e-12
    )
    losses = torch.nn.functional.cross_entropy(f, own.y, reduction="none")
    np.testing.assert_allclose(fact["loss"].sel(checkpoint="task1")[: sizes[kind]], losses, atol=1e-12)


@pytest.mark.parametrize("targets", ["one-hot", "values"])
def test_under_squared_errors_a_kept_logit_has_a_loss_of_its_own(targets, published):
    run = published("ogd of all logits", targets)
    fact = kept_outputs(run)
    for at, logits in zip(("task0", "task1", "task2"), kept_logits(run), strict=True):
        f = run.network(at, dtype=torch.float64)(logits.x.double()).detach()
        y = torch.nn.functional.one_hot(logits.y, 2) if targets == "one-hot" else logits.y
        rows = range(len(f))
        own = 0.5 * (f[rows, logits.outputs] - y[rows, logits.outputs]) ** 2
        chosen = fact.sel(kept=fact.since == at)["loss"].sel(checkpoint=at)
        np.testing.assert_allclose(chosen, own, atol=1e-12)
    lost = registry.get("measure", "kept_forgetting")(fact)["loss"].sel(checkpoint="task2")
    assert abs(float(lost)) < 1e-5


def test_which_gradients_were_drawn_is_a_fact_of_the_run(published):
    run = published("ogd")
    fact = run.fact(DRAWN)
    assert fact["phase"].values.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    y = torch.cat([task.train.y for task in built_stream(run).tasks]).numpy()
    np.testing.assert_array_equal(fact["output"], y[fact["example"] + 9 * fact["phase"]])
    assert all(len(set(part.values)) == 5 for _, part in fact["example"].groupby(fact["phase"]))
    assert DRAWN not in published("naive").tree.children


def test_a_run_that_does_not_say_which_gradients_were_drawn_is_refused(published):
    run = Run(published("ogd").path)
    del run.tree[DRAWN]
    with pytest.raises(
        StoreError, match=r"expected a record of the gradients that ogd drew, .* run it again"
    ):
        kernel_forecast(run, training_sets(run, 100)[0])


def test_what_was_drawn_is_resumed(stream, make_learner):
    learners = [make_learner(stream, "ogd", gradients=6) for _ in range(2)]
    learners[0].train(stream.phases[0])
    learners[1].load_state_dict(learners[0].state_dict())
    learners[1].train(stream.phases[1])
    both = learners[1].facts[DRAWN]
    assert both["phase"].values.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_array_equal(both["example"][:6], learners[0].facts[DRAWN]["example"])
    assert make_learner(stream, "naive").facts == {}
    assert make_learner(stream, "ogd").facts[DRAWN].sizes == {"gradient": 0}


def test_a_loss_summed_over_a_phase(published):
    run = published(
        "naive",
        "values",
        strategy={"loss": "sum_squared_error", "lr": 0.01},
        regimes={"it": {"name": "linearized"}},
    )
    table = clntk.predict_forgetting(clntk.RunSet([run]))
    assert (table.departure < 1e-4).all()
    assert table.actual_forgetting.abs().max() > 0.01


def test_minibatches_are_taken_for_steps_on_all_examples(published):
    sizes = {3: 1, 9: 3}  # examples a step, and as many steps in all
    off = [
        clntk.predict_forgetting(
            clntk.RunSet([published("naive", strategy={"batch_size": size, "epochs": 10 * k, "lr": 0.05})])
        ).departure.max()
        for size, k in sizes.items()
    ]
    assert 1e-3 < off[0] < 0.2
    assert off[1] < 1e-4
