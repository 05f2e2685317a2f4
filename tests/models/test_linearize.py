"""The first-order expansion of a network, against a Jacobian written out."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from clntk import registry
from clntk.capture.look import Look, hidden_layers
from clntk.errors import DataError
from clntk.kernels.empirical import empirical_ntk
from clntk.models.linearize import linearize
from clntk.shape import TaskShape


def _network(name="mlp", shape=TaskShape((6,), 3), **options):
    torch.manual_seed(0)
    return registry.get("model", name)(shape, **options).double()


def _moved(model, by=0.3):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))
    return model


def _expansion(network, theta, x):
    """f(x; θ₀) + J (θ − θ₀) with all of J, by reverse mode."""
    start = {name: p.detach() for name, p in network.named_parameters()}
    jacobian = jacrev(lambda weights: functional_call(network, weights, (x,)))(start)
    moved = ((theta[n] - start[n]).flatten() for n in start)
    rows = (j.flatten(2) for j in jacobian.values())
    return network(x) + sum(j @ d for j, d in zip(rows, moved, strict=True))


NETWORKS = {
    "mlp": ((6,), {"width": 5, "activation": "tanh"}),
    "cnn": ((2, 4, 4), {"channels": (3, 4)}),
    "resnet": ((1, 4, 4), {"width": 2, "norm": "batch"}),
    "rnn": ((3, 2), {"width": 4, "cell": "lstm"}),
    "transformer": ((3, 2), {"width": 4, "heads": 2, "depth": 1}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_exact_expansion(name):
    inputs, options = NETWORKS[name]
    network = _network(name, TaskShape(inputs, 3), **options).eval()
    original, x = copy.deepcopy(network), torch.randn(4, *inputs, dtype=torch.float64)
    linear = linearize(network)
    torch.testing.assert_close(linear(x), original(x), rtol=0, atol=0)
    theta = dict(_moved(linear).named_parameters())
    theta = {name.removeprefix("network."): p for name, p in theta.items()}
    expected = _expansion(original, theta, x)
    torch.testing.assert_close(linear(x), expected)
    assert not torch.allclose(functional_call(original, theta, (x,)), expected, rtol=1e-3)


def test_what_it_leaves_out_is_of_second_order():
    network, x = _network(activation="tanh", width=8), torch.randn(4, 6, dtype=torch.float64)
    linear = linearize(network)
    direction = [torch.randn_like(p) for p in network.parameters()]

    def left_out(size):
        with torch.no_grad():
            for p, d in zip(network.parameters(), direction, strict=True):
                p.add_(size * d)
            gap = (network(x) - linear(x)).norm().item()
            for p, d in zip(network.parameters(), direction, strict=True):
                p.sub_(size * d)
        return gap

    assert left_out(1e-3) / left_out(1e-4) == pytest.approx(100, rel=0.02)


def test_it_can_be_expanded_around_other_weights():
    network = _network(width=5)
    at = {name: torch.randn_like(p) for name, p in network.named_parameters()}
    there = copy.deepcopy(network)
    there.load_state_dict(at)
    x = torch.randn(4, 6, dtype=torch.float64)
    linear = linearize(network, at)
    torch.testing.assert_close(linear(x), _expansion(there, dict(network.named_parameters()), x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda at: at.pop("readout.bias"), r"found 'readout.bias' of shape nothing where .* \(3,\)"),
        (
            lambda at: at.update(more=torch.zeros(2)),
            r"found 'more' of shape \(2,\) where the network has none",
        ),
        (
            lambda at: at.update({"readout.bias": torch.zeros(4)}),
            r"found 'readout.bias' of shape \(4,\) where the network has \(3,\)",
        ),
    ],
)
def test_other_weights_of_another_network_are_refused(change, message):
    network = _network(width=5)
    at = dict(network.named_parameters())
    change(at)
    with pytest.raises(DataError, match=message):
        linearize(network, at)


def test_gradients_are_those_of_the_expansion_wherever_theta_is():
    network, x = _network(width=5, activation="tanh"), torch.randn(4, 6, dtype=torch.float64)
    original = copy.deepcopy(network)
    linear = _moved(linearize(network))
    linear(x).square().sum().backward()
    residual = 2 * linear(x).detach()
    for (name, p), q in zip(network.named_parameters(), original.parameters(), strict=True):
        (expected,) = torch.autograd.grad((original(x) * residual).sum(), q)
        torch.testing.assert_close(p.grad, expected, msg=name)


def test_its_kernel_never_moves():
    network, x = _network(width=5), torch.randn(4, 6, dtype=torch.float64)
    expected = empirical_ntk(network, x)
    linear = linearize(network)
    for _ in range(2):
        for method in ("auto", "autograd"):
            torch.testing.assert_close(empirical_ntk(linear, x, method=method), expected)
        _moved(linear)


def test_theta_nought_is_stored_but_never_trained():
    linear = _moved(linearize(_network(width=5)))
    assert all(name.startswith("network.") for name, _ in linear.named_parameters())
    assert len(list(linear.buffers())) == len(list(linear.parameters())) == 6
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.manual_seed(5)
    other = linearize(registry.get("model", "mlp")(TaskShape((6,), 3), width=5).double())
    assert not torch.allclose(other(x), linear(x))
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other(x), linear(x))


def test_hidden_units_are_those_at_theta_nought():
    network, x = _network(width=5), torch.randn(4, 6, dtype=torch.float64)
    layers = hidden_layers(network)
    _, expected = Look(network, {"A": x}, layers).forward
    linear = _moved(linearize(network))
    assert hidden_layers(linear) == {label: f"network.{path}" for label, path in layers.items()}
    outputs, seen = Look(linear, {"A": x}, hidden_layers(linear)).forward
    for label in layers:
        assert torch.equal(seen[label], expected[label])
    torch.testing.assert_close(outputs, linear(x).detach())


def test_it_stays_in_eval_mode_with_the_statistics_it_had():
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3)).double()
    linear = linearize(network).train()
    assert linear.training
    assert not any(m.training for m in (*network.modules(), *linear.initial.modules()))
    x = torch.randn(4, 6, dtype=torch.float64)
    assert torch.equal(linear(x), linear(x))
    assert network[1].num_batches_tracked == 0


def test_the_expansion_of_an_expansion_is_itself():
    linear, x = linearize(_network(width=5)), torch.randn(4, 6, dtype=torch.float64)
    twice = linearize(linear)
    _moved(linear)
    torch.testing.assert_close(twice(x), linear(x))
    copied = copy.deepcopy(twice)
    assert torch.equal(copied(x), twice(x))


def test_no_gradient_is_kept_where_none_is_wanted():
    linear = linearize(_network(width=5))
    with torch.no_grad():
        assert not linear(torch.randn(4, 6, dtype=torch.float64)).requires_grad
