"""Every model under every regime, for flat inputs, images and sequences: what a new member of either owes."""

import copy
import re

import pytest
import torch

from clntk import registry
from clntk.capture.look import Look, hidden_layers
from clntk.errors import DataError
from clntk.kernels.empirical import empirical_ntk
from clntk.shape import TaskShape

SHAPES = {"flat": (6,), "image": (2, 4, 4), "sequence": (3, 4)}
REFUSED = {
    ("cnn", "flat"),
    ("cnn", "sequence"),
    ("resnet", "flat"),
    ("resnet", "sequence"),
    ("rnn", "flat"),
    ("rnn", "image"),
    ("transformer", "flat"),
}
SMALL = {
    "mlp": {"width": 6, "depth": 2},
    "deep_linear": {"width": 6},
    "random_features": {"width": 8},
    "cnn": {"channels": (3, 4)},
    "resnet": {"width": 3, "stages": 2},
    "rnn": {"width": 5},
    "transformer": {"width": 4, "depth": 1, "heads": 2, "patch": 2},
    "custom": {"path": "clntk.models.mlp:mlp", "kwargs": {"width": 6}},
}
PAIRS = [(model, inputs) for model in registry.names("model") for inputs in SHAPES]
fitting = pytest.mark.parametrize(("model", "inputs"), [pair for pair in PAIRS if pair not in REFUSED])
regimes = pytest.mark.parametrize("regime", registry.names("regime"))


def _task(inputs):
    return TaskShape(SHAPES[inputs], 3)


def _network(model, inputs, seed=0):
    torch.manual_seed(seed)
    return registry.get("model", model)(_task(inputs), **SMALL.get(model, {}))


def _started(model, regime, inputs, seed=0):
    return registry.get("regime", regime)(_network(model, inputs, seed), _task(inputs)).model


@pytest.mark.parametrize(("model", "inputs"), sorted(REFUSED))
def test_inputs_that_a_model_does_not_take_are_refused_with_a_reason(model, inputs):
    found = re.escape(f"found inputs of shape {SHAPES[inputs]}")
    with pytest.raises(DataError, match=f"model {model}: expected .*{found}"):
        _network(model, inputs)


@fitting
@regimes
def test_outputs_kernel_and_state(model, regime, inputs):
    started = _started(model, regime, inputs).double().eval()
    x = torch.randn(3, *SHAPES[inputs], dtype=torch.float64)
    outputs = started(x)
    assert outputs.shape == (3, 3)
    assert torch.isfinite(outputs).all()
    kernel, slow = empirical_ntk(started, x), empirical_ntk(started, x, method="autograd")
    torch.testing.assert_close(kernel, slow, rtol=1e-9, atol=1e-9 * slow.abs().max().item())
    assert (kernel.diagonal(dim1=0, dim2=2).diagonal(dim1=0, dim2=1) >= 0).all()

    with torch.no_grad():
        for p in started.parameters():
            p.add_(0.1 * torch.randn_like(p))
    outputs = started(x)
    other = _started(model, regime, inputs, seed=1).double().eval()
    assert not torch.allclose(other(x), outputs)
    other.load_state_dict(started.state_dict())
    assert torch.equal(other(x), outputs)


@fitting
@regimes
def test_a_seed_decides_the_start(model, regime, inputs):
    first, again, other = (_started(model, regime, inputs, seed) for seed in (0, 0, 1))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert list(first.state_dict()) == list(again.state_dict())
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@fitting
@regimes
def test_a_step_is_taken_and_hidden_units_are_seen(model, regime, inputs):
    started = _started(model, regime, inputs)
    x, before = torch.randn(4, *SHAPES[inputs]), copy.deepcopy(dict(started.named_parameters()))
    optimizer = torch.optim.SGD([p for p in started.parameters() if p.requires_grad], lr=0.01)
    (started.train()(x) - 1).square().mean().backward()
    optimizer.step()
    for name, p in started.named_parameters():
        assert p.requires_grad or torch.equal(p, before[name])
    assert any(not torch.equal(p, before[name]) for name, p in started.named_parameters())
    layers = hidden_layers(started)
    assert layers
    assert layers.keys() == hidden_layers(_network(model, inputs)).keys()
    outputs, seen = Look(started.eval(), {"A": x}, layers).forward
    assert outputs.shape == (4, 3)
    assert {label.partition("#")[0] for label in seen} == layers.keys()
    assert all(torch.isfinite(units).all() and units.std() > 0 for units in seen.values())
