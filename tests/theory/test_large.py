"""Kernel regression through the operator, against the kernel written out."""

import copy

import pytest
import torch

import clntk
from clntk import registry
from clntk.errors import ClntkError, DataError
from clntk.shape import TaskShape
from clntk.theory.dynamics import kernel_regression
from clntk.theory.large import operator_regression


@pytest.fixture(scope="module")
def problem():
    torch.manual_seed(0)
    network = registry.get("model", "mlp")(TaskShape((5,), 3), width=30, activation="tanh").double()
    return network, *(torch.randn(k, w, dtype=torch.float64) for k, w in ((8, 5), (8, 3), (4, 5)))


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_it_is_kernel_regression(ridge, problem):
    network, x, y, x_test = problem
    before = copy.deepcopy(network.state_dict())
    expected = kernel_regression(
        clntk.empirical_ntk(network, x),
        y,
        clntk.empirical_ntk(network, x_test, x),
        start=network(x),
        test_start=network(x_test),
        ridge=ridge,
    )
    train, test = operator_regression(network, x, y, x_test, ridge=ridge, rtol=1e-12)
    torch.testing.assert_close(train, torch.from_numpy(expected.train), atol=1e-8, rtol=0)
    torch.testing.assert_close(test, torch.from_numpy(expected.test), atol=1e-8, rtol=0)
    assert operator_regression(network, x, y, ridge=ridge)[1] is None
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_what_does_not_fit_is_refused(problem):
    network, x, y, _ = problem
    with pytest.raises(DataError, match=r"the shape of the outputs, \(8, 3\), found \(8, 2\)"):
        operator_regression(network, x, y[:, :2], ridge=0.1)
    twice, apart = torch.cat([x, x]), torch.cat([y, -y])
    with pytest.raises(ClntkError, match="residual 1e-12 not reached in 20 steps"):
        operator_regression(network, twice, apart, ridge=0.0, rtol=1e-12, max_steps=20)
