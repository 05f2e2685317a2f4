"""Gated networks: every example is seen under the gate of its own task, whoever looks, however the batch is cut."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import clntk
from clntk import registry
from clntk.capture.look import frozen_copies
from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.strategies.gates import gated_layers, put_gates
from clntk.strategies.learner import Setup
from clntk.streams.presentation import multi_head

UNITS = 16


def _xdg(model, stream, *, seed=0, **options):
    setup = Setup(model, stream, seeds=Seeds(seed))
    return registry.get("strategy", "xdg")(setup, epochs=2, batch_size=16, **options)


@pytest.fixture
def gated(stream, make_model):
    return _xdg(make_model(stream), stream, gated=0.5)


def _by_hand(learner, x, task):
    """A one-layer network's logits with silent units cut out."""
    model, gate = learner.model, learner.model.gates_hidden1[task]
    hidden = (x @ model.hidden1.linear.weight.T + model.hidden1.linear.bias).relu()
    return (hidden * gate) @ model.readout.weight.T + model.readout.bias


def test_a_share_of_the_units_is_silent_in_each_task(gated, stream, make_model):
    gates = gated.model.gates_hidden1
    assert gates.shape == (3, UNITS)
    assert set(gates.unique().tolist()) == {0.0, 1.0}
    assert gates.sum(1).tolist() == [UNITS / 2] * 3
    assert len({tuple(row) for row in gates.tolist()}) == 3
    again, other = (_xdg(make_model(stream), stream, gated=0.5, seed=s).model.gates_hidden1 for s in (0, 1))
    assert torch.equal(again, gates)
    assert not torch.equal(other, gates)
    most = _xdg(make_model(stream), stream, gated=0.99).model.gates_hidden1
    assert most.sum(1).tolist() == [1.0] * 3, "one unit is always left"


def test_every_way_of_telling_the_task_gives_the_same_logits(gated, stream):
    x, tasks = torch.cat([t.test.x[:4] for t in stream.tasks]), torch.arange(3).repeat_interleave(4)
    expected = torch.cat([_by_hand(gated, t.test.x[:4], k) for k, t in enumerate(stream.tasks)])
    beside = gated.strategy.model(x, tasks)
    torch.testing.assert_close(beside, expected)
    riding = torch.cat(list(gated.with_tasks({t.name: t.test.x[:4] for t in stream.tasks}).values()))
    torch.testing.assert_close(gated.model(riding), expected)
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gated.model(riding[shuffled]), expected[shuffled])
    one = torch.cat([gated.model(row[None]) for row in riding])
    torch.testing.assert_close(one, expected)


def test_a_gated_network_that_is_not_told_the_task_says_so(gated, stream):
    with pytest.raises(DataError, match="expected to be told the task of every example"):
        gated.model(stream.tasks[0].test.x)
    gated.strategy.model(stream.tasks[0].test.x, torch.tensor(0))
    with pytest.raises(DataError):  # and forgets it again
        gated.model(stream.tasks[0].test.x)


def test_a_copy_reads_its_own_gates(gated, stream):
    x = gated.with_tasks({"task1": stream.tasks[1].test.x})["task1"]
    before = gated.model(x)
    twin = copy.deepcopy(gated.model)
    twin.gates_hidden1.zero_()
    torch.testing.assert_close(twin(x), gated.model.readout.bias.expand_as(before))
    assert torch.equal(gated.model(x), before)
    double = copy.deepcopy(gated.model).double()
    torch.testing.assert_close(double(x.double()).float(), before)


def test_gates_are_stored_with_the_weights_and_change_no_name(gated, stream, make_model):
    plain = make_model(stream)
    assert [n for n, _ in gated.model.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert set(gated.model.state_dict()) - set(plain.state_dict()) == {"gates_hidden1"}


def test_silent_units_learn_nothing(gated, stream):
    before = gated.model.hidden1.linear.weight.detach().clone()
    gated.train(stream.phases[1])
    moved = (gated.model.hidden1.linear.weight != before).any(1)
    assert not moved[gated.model.gates_hidden1[1] == 0].any()
    assert moved[gated.model.gates_hidden1[1] == 1].any()


def test_evaluation_is_under_the_tasks_own_gate(gated, stream):
    gated.train(stream.phases[0])
    for t, task in enumerate(stream.tasks):
        f = _by_hand(gated, task.test.x, t)
        loss, right = gated.evaluate(task.test, t)
        assert loss == pytest.approx(nn.functional.cross_entropy(f, task.test.y).item(), rel=1e-5)
        assert right == pytest.approx((f.argmax(1) == task.test.y).float().mean().item())


def test_heads_and_gates_go_together(stream, make_model):
    headed = multi_head(stream)
    learner = _xdg(make_model(headed), headed)
    learner.train(headed.phases[2])
    f = _by_hand(learner, headed.tasks[2].test.x, 2)[:, list(headed.heads[2])]
    expected = nn.functional.cross_entropy(f, headed.tasks[2].test.y - 8).item()
    assert learner.evaluate(headed.tasks[2].test, 2)[0] == pytest.approx(expected, rel=1e-5)


def _jacobian(learner, x, task):
    """Rows ∂f_c(x_n)/∂θ of the network under one task's gate, by plain autograd in float64."""
    twin = copy.deepcopy(learner.model).double()
    parameters = list(twin.parameters())
    rows = []
    for example in x.double():
        f = twin(torch.cat([example, torch.tensor([float(task)]).double()])[None])[0]
        for logit in f:
            parts = torch.autograd.grad(logit, parameters, retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in parts]))
    return torch.stack(rows)


@pytest.mark.parametrize("alpha", [None, 10.0])
def test_facts_are_those_of_each_task_under_its_own_gate(alpha, stream, make_model):
    model = make_model(stream)
    if alpha is not None:
        model = registry.get("regime", "output_scale")(model, stream.shape, alpha=alpha).model
    learner = _xdg(model, stream, gated=0.5)
    learner.train(stream.phases[0])
    plain = {task.name: task.probe.x for task in stream.tasks}
    capture = clntk.Capture(learner.model, inputs=learner.with_tasks(plain))
    capture("now", step=0)
    facts = capture.facts()
    gates = learner.model.gates_hidden1
    blocks = facts["kernels/kernels"].isel(checkpoint=0).values
    rows = [_jacobian(learner, task.probe.x, t) for t, task in enumerate(stream.tasks)]
    n, c = len(stream.tasks[0].probe), stream.outputs
    for t, task in enumerate(stream.tasks):
        seen = torch.as_tensor(facts["activations/hidden1/hidden1"].isel(checkpoint=0, eval_task=t).values)
        assert (seen[:, gates[t] == 0] == 0).all()
        assert (seen[:, gates[t] == 1] != 0).any()
        outputs = torch.as_tensor(facts["outputs/outputs"].isel(checkpoint=0, eval_task=t).values)
        tasks = torch.full((n,), t)
        torch.testing.assert_close(outputs, learner.strategy.model(task.probe.x, tasks).detach())
        for s in range(len(stream.tasks)):
            full = (rows[t] @ rows[s].T).reshape(n, c, n, c)
            expected = torch.einsum("ncmc->nm", full)
            torch.testing.assert_close(torch.as_tensor(blocks[t, s]), expected, rtol=1e-9, atol=1e-9)


def test_a_centred_network_starts_at_zero_under_every_gate(stream, make_model):
    started = registry.get("regime", "output_scale")(make_model(stream), stream.shape, alpha=100.0)
    learner = _xdg(started.model, stream)
    for t, task in enumerate(stream.tasks):
        f = learner.strategy.model(task.test.x, torch.full((len(task.test),), t))
        assert f.abs().max() < 1e-4


def test_copies_are_told_from_what_only_looks_like_one(stream, make_model):
    centred = registry.get("regime", "output_scale")(make_model(stream, depth=2), stream.shape).model
    for layer in ("hidden1", "hidden2"):
        (twin,) = frozen_copies(centred, f"network.{layer}.activation")
        assert twin is centred.initial.get_submodule(f"{layer}.activation")
    assert frozen_copies(make_model(stream), "hidden1.activation") == []
    other = nn.ModuleDict(
        {"a": nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "b": nn.Sequential(nn.ReLU(), nn.ReLU())}
    )
    other["b"].register_buffer("frozen", torch.ones(1))
    assert frozen_copies(other, "a.1") == [other["b"][1]]
    other["b"].append(nn.ReLU())  # no longer built as the other is
    assert frozen_copies(other, "a.1") == []


def test_feature_maps_are_not_gated():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)
    )
    assert gated_layers(network, torch.zeros(2, 1, 4, 4)) == {"4": 5}
    switch = put_gates(network, {"4": torch.eye(5)[:2]}, (1, 4, 4))
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    riding = switch.with_task(x, 1)
    assert riding.shape == (3, 17)
    with switch.open(torch.ones(3, dtype=torch.long)):
        assert torch.equal(network(riding), network(x))


def test_gating_needs_units(stream):
    with pytest.raises(DataError, match="strategy xdg: expected a hidden layer that gives one vector"):
        _xdg(nn.Linear(12, 4), stream)


def test_synaptic_intelligence_may_stand_beside_the_gates(stream, make_model, weights_of, same):
    def run(**options):
        learner = _xdg(make_model(stream), stream, **options)
        torch.manual_seed(0)
        for phase in stream.phases:
            learner.train(phase)
        return weights_of(learner.model)

    assert same(run(), run(xdg_c=0.0))
    assert not same(run(), run(xdg_c=1.0))


def test_a_run_keeps_gates_and_facts(tmp_path):
    options = ["strategy.name=xdg", "seeds=2", "strategy.epochs=1", "model.width=10"]
    runs = clntk.run("smoke", options, store=tmp_path)
    gates = {
        run.spec.seed: load_file(run.path / "weights" / "init.safetensors")["gates_hidden1"] for run in runs
    }
    assert not torch.equal(gates[0], gates[1])
    for run in runs:
        hidden = run.tree["activations/hidden1/hidden1"].isel(checkpoint=0)
        assert ((hidden == 0).all("probe").sum("unit") >= 8).all()  # 80 % of ten
        assert run.fact("metrics")["test_accuracy"].notnull().all()
