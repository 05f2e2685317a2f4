"""Deep linear networks: the map they are, and how its layers are drawn."""

import math
from itertools import pairwise

import pytest
import torch

from clntk import registry
from clntk.capture.look import hidden_layers
from clntk.models.layers import Identity
from clntk.shape import TaskShape

deep_linear = registry.get("model", "deep_linear")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _weights(model):
    return [p.detach().double() for p in model.parameters()]


@pytest.mark.parametrize("init", ["normal", "balanced"])
@pytest.mark.parametrize("inputs", [(5,), (1, 5), (5, 1, 1)])
def test_the_network_is_the_product_of_its_matrices(init, inputs):
    model = deep_linear(TaskShape(inputs, 3), width=7, depth=3, init=init).double()
    assert [tuple(w.shape) for w in _weights(model)] == [(7, 5), (7, 7), (7, 7), (3, 7)]
    whole = torch.linalg.multi_dot(_weights(model)[::-1])
    x = torch.randn(4, *inputs, dtype=torch.float64)
    torch.testing.assert_close(model(x), x.flatten(1) @ whole.T)
    assert list(hidden_layers(model)) == ["hidden1", "hidden2", "hidden3"]


def test_the_identity_is_exact_forwards_and_backwards():
    x = torch.tensor([-2.5, -0.0, 0.0, 1e-30, 3.0], requires_grad=True)
    y = Identity()(x)
    assert torch.equal(y, x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones(5))


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_normal_weights_have_the_stated_spread(scale):
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    for weight in _weights(deep_linear(TaskShape((90,), 80), width=300, init_scale=scale)):
        sd = scale / math.sqrt(weight.shape[1])
        assert weight.std().item() == pytest.approx(sd, rel=5 / math.sqrt(2 * weight.numel()))


@pytest.mark.parametrize(("width", "rank"), [(12, 3), (2, 2), (4, 3)])
def test_balanced_layers_share_the_map_evenly(width, rank):
    weights = _weights(deep_linear(TaskShape((6,), 3), width=width, depth=3, init="balanced"))
    for before, after in pairwise(weights):
        torch.testing.assert_close(after.T @ after, before @ before.T, rtol=0, atol=1e-6)
    assert torch.linalg.matrix_rank(torch.linalg.multi_dot(weights[::-1]), atol=1e-6) == rank


def test_a_balanced_map_has_the_stated_spread_and_no_unit_of_one_mode():
    weights = _weights(deep_linear(TaskShape((80,), 70), width=90, depth=2, init="balanced", init_scale=0.5))
    whole = torch.linalg.multi_dot(weights[::-1])
    assert whole.std().item() == pytest.approx(0.5 / math.sqrt(80), rel=5 / math.sqrt(2 * whole.numel()))
    right = torch.linalg.svd(whole).Vh[:70]
    modes = (weights[0] @ right.T).square()  # unit × mode: without rotations each row would have one entry
    assert (modes.max(1).values / modes.sum(1)).median() < 0.3


def test_gradient_descent_in_small_steps_keeps_the_balance():
    """Gradient flow conserves it; a step of size η breaks it by O(η²), so η steps of a tenth break it a tenth."""
    x, y = torch.randn(10, 6, dtype=torch.float64), torch.randn(10, 3, dtype=torch.float64)

    def imbalance(lr, steps):
        torch.manual_seed(1)
        model = deep_linear(TaskShape((6,), 3), width=8, depth=1, init="balanced").double()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
        first, second = _weights(model)
        return (second.T @ second - first @ first.T).norm().item()

    coarse, fine = imbalance(0.1, 20), imbalance(0.01, 200)
    assert coarse / fine == pytest.approx(10, rel=0.3)
    assert fine < 0.01
