"""The read-out solved for: against an independent solver, long gradient descent, and what it must refuse."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import Ridge

from clntk import registry
from clntk.errors import DataError
from clntk.strategies.learner import Setup


def learner(stream, *, width=8, bias=True, model="random_features", **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = registry.get("model", model)(stream.shape, width=width, bias=bias)
    setup = Setup(network, stream)
    return registry.get("strategy", "least_squares")(setup, **{"loss": "squared_error", **options}), network


def features(network, x):
    with torch.no_grad():
        return torch.relu(network.hidden1.linear(x)).double().numpy()


def readout(network):
    return network.readout.weight.detach().double().numpy().T.copy()


def one_hot(y):
    return np.eye(4)[y.numpy()]


@pytest.mark.parametrize("width", [8, 120])  # fewer features than the 50 examples, and more
def test_it_is_the_least_change_that_fits_best(make_stream, width):
    stream = make_stream()
    trained, network = learner(stream, width=width, bias=False)
    for phase in stream.phases[:2]:
        before, (data, _) = readout(network), stream.phase_data(phase)
        phi = features(network, data.x)
        trained.train(phase)
        change = scipy.linalg.pinv(phi) @ (one_hot(data.y) - phi @ before)
        np.testing.assert_allclose(readout(network) - before, change, atol=2e-5)
    assert trained.steps == 2


def test_a_bias_that_is_trained_is_solved_for_too(make_stream):
    stream = make_stream()
    trained, network = learner(stream)
    before, bias = readout(network), network.readout.bias.detach().double().numpy().copy()
    data = stream.phase_data(stream.phases[0])[0]
    phi = np.c_[features(network, data.x), np.ones(len(data))]
    trained.train(stream.phases[0])
    change = scipy.linalg.pinv(phi) @ (one_hot(data.y) - phi @ np.r_[before, bias[None]])
    np.testing.assert_allclose(readout(network) - before, change[:-1], atol=1e-5)
    after = network.readout.bias.detach().double().numpy()
    np.testing.assert_allclose(after - bias, change[-1], atol=1e-5)


def test_it_is_where_gradient_descent_ends(make_stream):
    stream = make_stream()
    trained, network = learner(stream, bias=False)
    _, other = learner(stream, bias=False)
    data = stream.phase_data(stream.phases[0])[0]
    phi, target = torch.from_numpy(features(other, data.x)), torch.from_numpy(one_hot(data.y))
    weights = torch.from_numpy(readout(other))
    rate = 1 / torch.linalg.eigvalsh(phi.T @ phi).max()
    for _ in range(20000):
        weights -= rate * phi.T @ (phi @ weights - target)
    trained.train(stream.phases[0])
    np.testing.assert_allclose(readout(network), weights, atol=1e-4)


def test_ridge_is_scikit_learns(make_stream):
    stream = make_stream()
    trained, network = learner(stream, bias=False, ridge=0.7)
    before = readout(network)
    data = stream.phase_data(stream.phases[0])[0]
    phi = features(network, data.x)
    trained.train(stream.phases[0])
    fitted = Ridge(alpha=0.7, fit_intercept=False).fit(phi, one_hot(data.y) - phi @ before)
    np.testing.assert_allclose(readout(network) - before, fitted.coef_.T, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "mlp"}, "expected a network of which one linear layer, the read-out, is trained"),
        ({"loss": "auto"}, "expected squared errors, found loss cross_entropy"),
    ],
)
def test_what_it_cannot_solve_is_refused(make_stream, options, said):
    with pytest.raises(DataError, match=said):
        learner(make_stream(), **options)


def test_a_scaled_output_is_refused(make_stream):
    stream = make_stream()
    _, network = learner(stream)

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return 2 * self.network(x)

    trained = registry.get("strategy", "least_squares")(Setup(Scaled(), stream), loss="squared_error")
    with pytest.raises(DataError, match="changed afterwards"):
        trained.train(stream.phases[0])


def test_interrupted_it_goes_on_to_the_same_bits(make_stream):
    stream = make_stream()
    whole, network = learner(stream)
    for phase in stream.phases:
        whole.train(phase)
    begun, _ = learner(stream)
    begun.train(stream.phases[0])
    again, resumed = learner(stream)
    again.load_state_dict(begun.state_dict())
    for phase in stream.phases[1:]:
        again.train(phase)
    assert torch.equal(network.readout.weight, resumed.readout.weight)
    assert torch.equal(network.readout.bias, resumed.readout.bias)
