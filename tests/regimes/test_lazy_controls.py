"""The two linear regimes, in training: the linearised network, and the network of which only the read-out learns."""

import copy

import pytest
import torch
from torch import nn

from clntk import registry
from clntk.errors import DataError
from clntk.kernels.empirical import empirical_ntk
from clntk.runs.boundary import generator_state, set_generator_state
from clntk.shape import TaskShape
from clntk.strategies.learner import Setup

REGIMES = ["linearized", "frozen_features"]


def _network(seed=0, **options):
    torch.manual_seed(seed)
    options = {"width": 16, "depth": 1, "activation": "tanh", **options}
    return registry.get("model", "mlp")(TaskShape((6,), 3), **options).double()


def _regime(name, model, shape=TaskShape((6,), 3)):
    return registry.get("regime", name)(model, shape)


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(1)
    return tuple(torch.randn(10, k, generator=g, dtype=torch.float64) for k in (6, 3))


@pytest.mark.parametrize("name", REGIMES)
def test_the_function_at_initialisation_is_the_networks(name, data):
    plain = _network()
    regime = _regime(name, _network())
    assert (regime.lr_scale, regime.optimizer) == (1, None)
    assert torch.equal(regime.model(data[0]), plain(data[0]))


@pytest.mark.parametrize("name", REGIMES)
def test_outputs_under_gradient_descent_are_the_closed_form(name, data):
    """f_k = y + (I − ηK)^k (f_0 − y), exactly: the kernel of training is the one at initialisation."""
    x, y = data
    model = _regime(name, _network()).model
    kernel = empirical_ntk(model, x).reshape(30, 30)
    before, lr, steps = model(x).detach().flatten(), 0.02, 50
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (model(x) - y).square().sum()).backward()
        optimizer.step()
    decay = torch.linalg.matrix_power(torch.eye(30, dtype=torch.float64) - lr * kernel, steps)
    expected = y.flatten() + decay @ (before - y.flatten())
    torch.testing.assert_close(model(x).flatten(), expected)
    torch.testing.assert_close(empirical_ntk(model, x).reshape(30, 30), kernel)
    assert (expected - y.flatten()).norm() < 0.5 * (before - y.flatten()).norm()


def test_linearising_the_lazy_limit_changes_little_and_the_rich_network_much(data):
    """At α = 1000 the network is its own linearisation to a thousandth; at α = 1 it is not."""
    x, y = data

    def trained(alpha, *, linear):
        regime = registry.get("regime", "output_scale")(_network(), TaskShape((6,), 3), alpha=alpha)
        model = _regime("linearized", regime.model).model if linear else regime.model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02 * regime.lr_scale)
        for _ in range(100):
            optimizer.zero_grad()
            (0.5 * (model(x) - y).square().sum()).backward()
            optimizer.step()
        return model(x).detach()

    def apart(alpha):
        network, linear = trained(alpha, linear=False), trained(alpha, linear=True)
        return ((network - linear).norm() / linear.norm()).item()

    assert apart(1000) < 1e-3
    assert apart(1) > 0.05


# --- frozen features --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape", "options"),
    [
        ("mlp", (6,), {"width": 8}),
        ("cnn", (1, 5, 5), {"channels": (3, 4)}),
        ("resnet", (1, 5, 5), {"width": 4}),
        ("rnn", (4, 3), {"width": 5}),
        ("transformer", (4, 3), {"width": 8, "depth": 1}),
    ],
)
def test_only_the_readout_is_trained_and_features_stay(model, shape, options):
    torch.manual_seed(0)
    network = registry.get("model", model)(TaskShape(shape, 3), **options)
    started = _regime("frozen_features", network, TaskShape(shape, 3)).model
    before = copy.deepcopy(started.state_dict())
    started.train()
    optimizer = torch.optim.SGD(started.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        started(torch.randn(5, *shape)).square().sum().backward()
        optimizer.step()
    moved = {name for name, value in started.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"network.readout.weight", "network.readout.bias"}
    assert {n for n, p in started.named_parameters() if p.requires_grad} == moved


def test_the_readout_alone_keeps_the_mode_of_training():
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    model = _regime("frozen_features", network).model.train()
    assert [m.training for m in network] == [False, False, True]
    assert not model.eval().network[2].training


@pytest.mark.parametrize("name", ["frozen_features"])
def test_a_network_without_a_readout_is_refused(name):
    with pytest.raises(DataError, match=f"{name}: expected a network with layers that hold a weight matrix"):
        _regime(name, nn.Sequential(nn.BatchNorm1d(6)))


# --- through a strategy -----------------------------------------------------------------------------------


def _learner(name, stream, seed=0, **options):
    torch.manual_seed(seed)
    network = registry.get("model", "mlp")(stream.shape, width=16, depth=1)
    regime = registry.get("regime", name)(network, stream.shape)
    options = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9, **options}
    learner = registry.get("strategy", "naive")(Setup(regime.model, stream, regime.lr_scale), **options)
    torch.manual_seed(1)
    return learner


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_is_trained_by_avalanche_and_goes_on_after_an_interruption(name, optimizer, stream):
    x = torch.cat([task.probe.x for task in stream.tasks])
    learner = _learner(name, stream, optimizer=optimizer)
    kernel = empirical_ntk(learner.model.eval(), x, mode="trace")
    before = {n: p.detach().clone() for n, p in learner.model.named_parameters()}
    learner.train(stream.phases[0])
    saved = copy.deepcopy(learner.state_dict()), generator_state()
    learner.train(stream.phases[1])
    torch.testing.assert_close(
        empirical_ntk(learner.model.eval(), x, mode="trace"), kernel, rtol=1e-5, atol=1e-5
    )
    trained = {n for n, p in learner.model.named_parameters() if p.requires_grad}
    assert {n for n, p in learner.model.named_parameters() if not torch.equal(p, before[n])} == trained

    again = _learner(name, stream, seed=5, optimizer=optimizer)
    again.load_state_dict(saved[0])
    set_generator_state(saved[1])
    again.train(stream.phases[1])
    for a, b in zip(again.model.state_dict().values(), learner.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
