"""The fully-connected network: its layers, and how they are drawn."""

import math

import pytest
import torch
from torch import nn

from clntk import registry
from clntk.errors import DataError
from clntk.shape import TaskShape

mlp = registry.get("model", "mlp")
GAIN = {"relu": math.sqrt(2), "tanh": 1.0, "identity": 1.0}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _weights(model):
    return {name: p for name, p in model.named_parameters() if name.endswith("weight")}


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_have_their_names_and_shapes(depth, bias):
    model = mlp(TaskShape((5,), 3), width=7, depth=depth, bias=bias)
    expected = {}
    for k in range(1, depth + 1):
        expected[f"hidden{k}.linear.weight"] = (7, 5 if k == 1 else 7)
        expected[f"hidden{k}.linear.bias"] = (7,)
    expected |= {"readout.weight": (3, 7), "readout.bias": (3,)}
    expected = {name: shape for name, shape in expected.items() if bias or not name.endswith("bias")}
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == expected


@pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
def test_the_forward_pass_is_the_formula(activation):
    act = {"relu": lambda v: v.clamp(min=0), "tanh": torch.tanh, "identity": lambda v: v}[activation]
    model = mlp(TaskShape((5,), 3), width=7, depth=2, activation=activation, bias_init=0.3)
    p, x = dict(model.named_parameters()), torch.randn(4, 5)
    h = act(x @ p["hidden1.linear.weight"].T + 0.3)
    h = act(h @ p["hidden2.linear.weight"].T + 0.3)
    torch.testing.assert_close(model(x), h @ p["readout.weight"].T + 0.3)


def test_inputs_with_several_axes_are_flattened():
    model = mlp(TaskShape((2, 3, 4), 3), width=7)
    x = torch.randn(5, 2, 3, 4)
    assert model(x).shape == (5, 3)
    assert torch.equal(model(x), model(x.reshape(5, 24).reshape(5, 2, 3, 4)))


@pytest.mark.parametrize("activation", GAIN)
@pytest.mark.parametrize("scale", [1.0, 0.1, [0.5, 2.0, 3.0]])
def test_weights_have_the_stated_spread(activation, scale):
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    model = mlp(TaskShape((50,), 40), width=400, depth=2, activation=activation, init_scale=scale)
    scales = scale if isinstance(scale, list) else [scale] * 3
    gains = [GAIN[activation], GAIN[activation], 1.0]
    for weight, s, gain in zip(_weights(model).values(), scales, gains, strict=True):
        fan_in, n = weight.shape[1], weight.numel()
        sd = s * gain / math.sqrt(fan_in)
        assert weight.std().item() == pytest.approx(sd, rel=5 / math.sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * sd / math.sqrt(n)
        assert (weight.abs() > 3 * sd).float().mean().item() == pytest.approx(0.0027, rel=0.5)  # normal tails


def test_all_biases_start_from_one_value():
    for value in (0.0, 0.1):
        model = mlp(TaskShape((5,), 3), depth=2, bias_init=value)
        biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
        assert len(biases) == 3
        assert all((b == value).all() for b in biases)


def test_the_seed_decides_the_weights_and_the_scale_only_stretches_them():
    def draw(seed, **options):
        torch.manual_seed(seed)
        return list(_weights(mlp(TaskShape((5,), 3), **options)).values())

    for a, b, c, d in zip(draw(0), draw(0), draw(1), draw(0, init_scale=0.5), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        torch.testing.assert_close(d, a / 2)


@pytest.mark.parametrize("scales", [[1.0, 1.0], [1.0] * 4, []])
def test_another_number_of_scales_is_refused(scales):
    with pytest.raises(
        DataError, match=rf"init_scale: expected one factor or 3 \(read-out last\), found {len(scales)}"
    ):
        mlp(TaskShape((5,), 3), depth=2, init_scale=scales)


def test_parameters_are_trainable_and_modules_plain():
    model = mlp(TaskShape((5,), 3))
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert {type(m) for m in model.modules()} == {nn.Sequential, nn.Linear, nn.ReLU}


def test_hidden_biases_may_stay_where_they_are():
    model = mlp(TaskShape((5,), 3), width=7, depth=2, bias_init=0.1, train_hidden_bias=False)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"hidden1.linear.bias", "hidden2.linear.bias"}
    assert all(torch.equal(model.get_parameter(name), torch.full((7,), 0.1)) for name in frozen)
