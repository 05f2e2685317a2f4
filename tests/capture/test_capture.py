"""Capture: labelled facts from anyone's loop, and no trace left in it."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import clntk
from clntk.capture.look import Look, hidden_layers, undisturbed
from clntk.errors import DataError, UnknownName
from clntk.kernels.empirical import empirical_ntk
from clntk.registry import register


def _net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)
    )


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(1)
    return {"A": torch.randn(4, 5, generator=g), "B": torch.randn(4, 5, generator=g)}


def _train(model, *, look=lambda step: None, steps=6):
    """A plain loop with dropout, momentum, and gradients that add up over two steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(2)
    for step in range(1, steps + 1):
        nn.functional.cross_entropy(model(torch.randn(16, 5)), torch.randint(3, (16,))).backward()
        look(step)
        if step % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
    return [p.detach().clone() for p in model.parameters()]


@pytest.fixture
def recorded(inputs):
    """A trained network, its capture of two checkpoints, and the network as it was at each."""
    model, states = _net(), []
    with clntk.Capture(model, inputs=inputs) as capture:
        for checkpoint, step, task in (("init", 0, ""), ("A", 6, "A")):
            capture(checkpoint, step=step, task=task)
            states.append({k: v.clone() for k, v in model.state_dict().items()})
            _train(model)
    return capture, states


# --- what is recorded -------------------------------------------------------------------------------------


def test_facts_are_labelled(recorded):
    facts = recorded[0].facts()
    shapes = {
        "outputs": {"checkpoint": 2, "eval_task": 2, "probe": 4, "output": 3},
        "kernels": {"checkpoint": 2, "eval_task": 2, "other_task": 2, "probe": 4, "other_probe": 4},
        "activations/1": {"checkpoint": 2, "eval_task": 2, "probe": 4, "unit": 8},
        "activations/4": {"checkpoint": 2, "eval_task": 2, "probe": 4, "unit": 6},
        "weights/3.weight": {"checkpoint": 2, "3.weight.0": 6, "3.weight.1": 8},
        "weights/0.bias": {"checkpoint": 2, "0.bias.0": 8},
    }
    for group, sizes in shapes.items():
        fact = facts[group][group.rpartition("/")[2]]
        assert dict(fact.sizes) == sizes
        assert fact.dims[0] == "checkpoint"
        assert fact.checkpoint.values.tolist() == ["init", "A"]
        assert fact.step.values.tolist() == [0, 6]
        assert fact.task.values.tolist() == ["", "A"]
        for dim in {"eval_task", "other_task"} & set(sizes):
            assert fact[dim].values.tolist() == ["A", "B"]
    assert {node.path for node in facts.leaves} == {
        *(f"/{group}" for group in shapes),
        *(f"/weights/{k}.{kind}" for k in (0, 3, 5) for kind in ("weight", "bias")),
    }


def test_facts_are_those_of_a_forward_pass_by_hand(recorded, inputs):
    capture, states = recorded
    facts, model = capture.facts(), _net().eval()
    for k, state in enumerate(states):
        model.load_state_dict(state)
        for task, x in inputs.items():
            here = {"eval_task": task}
            with torch.no_grad():
                hidden1 = torch.relu(model[0](x))
                hidden2 = torch.tanh(model[3](hidden1))
                output = model[5](hidden2)
            for group, expected in (
                ("activations/1", hidden1),
                ("activations/4", hidden2),
                ("outputs", output),
            ):
                found = facts[group][group.rpartition("/")[2]].isel(checkpoint=k).sel(here)
                np.testing.assert_allclose(found.values, expected.numpy(), rtol=1e-5, atol=1e-6)
            for other, z in inputs.items():
                expected = empirical_ntk(_double(model), x.double(), z.double(), mode="trace").numpy()
                block = facts["kernels"]["kernels"].isel(checkpoint=k).sel({**here, "other_task": other})
                assert block.dtype == np.float64
                np.testing.assert_allclose(block.values, expected, rtol=1e-10)
        for name, value in state.items():
            assert np.array_equal(facts[f"weights/{name}"][name].isel(checkpoint=k).values, value.numpy())


def _double(model):
    twin = _net().eval()
    twin.load_state_dict(model.state_dict())
    return twin.double()


def test_records_are_facts_of_their_moment(inputs):
    """A record is a copy: later training does not reach into it."""
    model = _net()
    with clntk.Capture(model, inputs=inputs) as capture:
        record = capture("init", step=0)
        before = {name: fact.values.copy() for name, fact in record.facts.items()}
        _train(model)
    assert capture.records == [record]
    assert all(np.array_equal(fact.values, before[name]) for name, fact in record.facts.items())


def test_only_the_probes_asked_for_are_recorded(inputs):
    with clntk.Capture(_net(), ["outputs"], inputs=inputs) as capture:
        assert set(capture("init", step=0).facts) == {"outputs"}


def test_a_probe_of_ones_own_gets_its_options(inputs):
    @register("probe")
    def norm(look: Look, *, power: int = 1):
        """Norm of the outputs."""
        return xr.DataArray(look.forward[0].norm().item() ** power)

    with clntk.Capture(_net(), {"norm": {}}, inputs=inputs) as plain:
        once = plain("init", step=0).facts["norm"].item()
    with clntk.Capture(_net(), {"norm": {"power": 2}}, inputs=inputs) as squared:
        assert squared("init", step=0).facts["norm"].item() == pytest.approx(once**2)
    assert squared.facts()["norm"]["norm"].dims == ("checkpoint",)


def test_nothing_recorded_is_an_empty_tree(inputs):
    assert not clntk.Capture(_net(), inputs=inputs).facts().children


# --- no trace is left -------------------------------------------------------------------------------------


def test_looking_changes_no_bit_of_training(inputs):
    expected = _train(_net())
    model = _net()
    with clntk.Capture(model, inputs=inputs) as capture:
        found = _train(model, look=lambda step: capture(f"step{step}", step=step))
    assert len(capture.records) == 6
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_modes_hooks_and_gradients_are_put_back(inputs):
    model = _net()
    model[0].eval()
    modes = [m.training for m in model.modules()]
    model[3].weight.grad = gradient = torch.ones(6, 8)
    hook = model[1].register_forward_hook(lambda *_: None)
    with clntk.Capture(model, inputs=inputs) as capture:
        capture("init", step=0)
    assert [m.training for m in model.modules()] == modes
    assert model[3].weight.grad is gradient
    assert (gradient == 1).all()
    assert model[0].weight.grad is None
    assert list(model[1]._forward_hooks) == [hook.id]
    assert not any(m._forward_hooks for m in model.modules() if m is not model[1])


def test_a_probe_that_fails_or_draws_or_differentiates_leaves_no_trace(inputs):
    @register("probe")
    def clumsy(look: Look, *, fail: bool = False):
        """Draws, differentiates and may fail."""
        assert not any(m.training for m in look.model.modules())
        loss = look.model(look.stacked + torch.randn_like(look.stacked)).sum()
        loss.backward()
        if fail:
            raise RuntimeError("clumsy")
        return xr.DataArray(loss.item())

    expected = _train(_net())
    for fail in (False, True):
        model = _net()
        capture = clntk.Capture(model, {"clumsy": {"fail": fail}}, inputs=inputs)

        def look(step, capture=capture, fail=fail):
            if fail:
                with pytest.raises(RuntimeError, match="clumsy"):
                    capture("now", step=step)
            else:
                capture(f"step{step}", step=step)

        found = _train(model, look=look)
        assert model.training
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
        assert len(capture.records) == (0 if fail else 6)


def test_looking_works_under_no_grad(inputs):
    with torch.no_grad(), clntk.Capture(_net(), inputs=inputs) as capture:
        assert np.isfinite(capture("init", step=0).facts["kernels"]).all()
        assert not torch.is_grad_enabled()


def test_hooks_go_even_if_the_forward_pass_fails():
    model = _net()
    look = Look(model, {"A": torch.randn(4, 7)}, {"1": "1"})
    with pytest.raises(RuntimeError), undisturbed(model):
        look.forward  # noqa: B018
    assert not model[1]._forward_hooks
    assert model.training


# --- errors -----------------------------------------------------------------------------------------------


def test_probe_sets_have_one_shape(inputs):
    for other in (torch.randn(3, 5), torch.randn(4, 6)):
        with pytest.raises(
            DataError, match=r"expected probe sets of one shape.*found \{'A': \(4, 5\), 'B': "
        ):
            clntk.Capture(_net(), inputs={**inputs, "B": other})
    with pytest.raises(DataError, match="with at least one probe each"):
        clntk.Capture(_net(), inputs={"A": torch.randn(0, 5)})
    with pytest.raises(DataError, match="expected probe inputs of at least one task, found none"):
        clntk.Capture(_net(), inputs={})


def test_an_unknown_layer_is_answered_with_those_there_are(inputs):
    with pytest.raises(
        DataError, match=r"expected the path of a module, found 'hidden'; the model has 0, 1, 2, 3, 4, 5"
    ):
        clntk.Capture(_net(), inputs=inputs, layers={"h": "hidden"})


def test_an_unknown_probe_is_answered_with_the_nearest(inputs):
    with pytest.raises(UnknownName, match=r"no probe is called 'kernel'; did you mean 'kernels'\?"):
        clntk.Capture(_net(), ["kernel"], inputs=inputs)


def test_a_checkpoint_is_recorded_once(inputs):
    with clntk.Capture(_net(), ["outputs"], inputs=inputs) as capture:
        capture("init", step=0)
        with pytest.raises(DataError, match="checkpoint 'init' was recorded before; choose another label"):
            capture("init", step=1)


def test_a_closed_capture_records_no_more(inputs):
    with clntk.Capture(_net(), ["outputs"], inputs=inputs) as capture:
        capture("init", step=0)
    with pytest.raises(DataError, match="expected checkpoint 'A' inside the with block, found it closed"):
        capture("A", step=1)
    assert capture.facts()["outputs"].sizes["checkpoint"] == 1


# --- hidden layers ----------------------------------------------------------------------------------------


class Wrapped(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


class Reused(nn.Module):
    """One nonlinearity called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.last(self.act(self.second(self.act(self.first(x)))))


class Functional(nn.Module):
    """Nonlinearities that are no modules."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def _mlp(**options):
    from clntk import registry
    from clntk.shape import TaskShape

    return registry.get("model", "mlp")(TaskShape((5,), 3), width=4, depth=2, **options)


def _centred():
    from clntk.regimes.output_scale import CentredOutput

    return CentredOutput(_mlp(), 2.0)


def _normed():
    block = nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.ReLU())
    return nn.Sequential(OrderedDict(first=nn.Linear(5, 4), block=block, last=nn.Linear(4, 3)))


def _attention():
    return nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, activation=nn.GELU(), batch_first=True)


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (_mlp, {"hidden1": "hidden1.activation", "hidden2": "hidden2.activation"}),
        (lambda: Wrapped(_mlp()), {k: f"network.{k}.activation" for k in ("hidden1", "hidden2")}),
        (_centred, {k: f"network.{k}.activation" for k in ("hidden1", "hidden2")}),
        (_net, {"1": "1", "4": "4"}),
        (lambda: Wrapped(_net()), {"network.1": "network.1", "network.4": "network.4"}),
        (lambda: _mlp(activation="identity"), {k: f"{k}.activation" for k in ("hidden1", "hidden2")}),
        (Functional, {"first": "first", "second": "second"}),
        (Reused, {"act": "act"}),
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3), nn.Softmax(1)), {"1": "1"}),
        (_attention, {"activation": "activation"}),
        (_normed, {"block": "block.1"}),
        (lambda: nn.Linear(5, 3), {}),
    ],
)
def test_hidden_layers_are_found_and_named(make, layers):
    assert hidden_layers(make()) == layers


def test_a_module_called_twice_is_two_layers(inputs):
    model = Reused()
    with clntk.Capture(model, ["activations"], inputs=inputs) as capture:
        facts = capture("init", step=0).facts
    assert set(facts) == {"activations/act#1", "activations/act#2"}
    with torch.no_grad():
        first = torch.tanh(model.first(inputs["B"]))
        second = torch.tanh(model.second(first))
    for label, expected in (("act#1", first), ("act#2", second)):
        found = facts[f"activations/{label}"].sel(eval_task="B").values
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_layers_of_ones_own_choice_keep_their_labels(inputs):
    model = _net()
    with clntk.Capture(model, ["activations"], inputs=inputs, layers={"before": "0"}) as capture:
        facts = capture("init", step=0).facts
    assert set(facts) == {"activations/before"}
    found = facts["activations/before"].sel(eval_task="A").values
    np.testing.assert_allclose(found, model[0](inputs["A"]).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_feature_maps_become_units():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randn(4, 1, 3, 3)
    with clntk.Capture(model, inputs={"A": x, "B": x + 1}) as capture:
        facts = capture("init", step=0).facts
    assert facts["activations/1"].shape == (2, 4, 8)
    assert facts["kernels"].shape == (2, 2, 4, 4)


# --- with Avalanche and without ---------------------------------------------------------------------------


def test_a_plain_loop_needs_no_avalanche():
    script = """
import sys, torch, clntk
model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
with clntk.Capture(model, inputs={"A": torch.randn(4, 5), "B": torch.randn(4, 5)}) as capture:
    capture("init", step=0)
print(sorted(capture.facts().children), [m for m in sys.modules if m.partition(".")[0] == "avalanche"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['activations', 'kernels', 'outputs', 'weights'] []", done.stderr


@pytest.fixture
def make_naive():
    """Avalanche's own strategy, as its users would build it."""
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin

    def make(*plugins):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))
        strategy = Naive(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=16,
            train_epochs=2,
            plugins=list(plugins),
            evaluator=EvaluationPlugin(),
        )
        return strategy, model

    return make


def test_the_plugin_records_every_phase_of_stock_avalanche(stream, make_naive):
    from clntk.capture.avalanche import CapturePlugin

    def train(strategy, model):
        weights = []
        for experience in stream.benchmark.train_stream:
            strategy.train(experience, eval_streams=[])
            weights.append(model[0].weight.detach().clone())
        return weights

    expected = train(*make_naive())
    told = []
    plugin = CapturePlugin(None, stream.task_names, told.append)
    strategy, model = make_naive(plugin)
    start = model[0].weight.detach().clone()
    with clntk.Capture(model, inputs={task.name: task.probe.x for task in stream.tasks}) as plugin.capture:
        found = train(strategy, model)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))

    records = plugin.capture.records
    assert told == records
    assert [(r.checkpoint, r.step, r.task) for r in records] == [
        ("init", 0, ""), ("task0", 8, "task0"), ("task1", 16, "task1"), ("task2", 24, "task2")
    ]  # fmt: skip
    for record, weight in zip(records, [start, *found], strict=True):
        assert np.array_equal(record.facts["weights/0.weight"].values, weight.numpy())
