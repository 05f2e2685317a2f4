"""Regimes: the property that defines each."""

import pytest
import torch
from torch import nn

from clntk import registry
from clntk.errors import DataError, OptionError
from clntk.kernels.empirical import empirical_ntk
from clntk.regimes.base import Regime, weight_layers
from clntk.shape import TaskShape

SHAPE = TaskShape((6,), 3, {"stimulus": (0, 4), "context": (4, 6)})


def _network(seed=0, **options):
    torch.manual_seed(seed)
    return registry.get("model", "mlp")(
        SHAPE, **{"width": 20, "depth": 1, "activation": "tanh", **options}
    ).double()


def _regime(name, model=None, **options) -> Regime:
    return registry.get("regime", name)(_network() if model is None else model, SHAPE, **options)


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(1)
    return tuple(torch.randn(10, k, generator=g, dtype=torch.float64) for k in (6, 3))


# --- standard ---------------------------------------------------------------------------------------------


def test_standard_changes_nothing():
    model = _network()
    before = [p.clone() for p in model.parameters()]
    regime = _regime("standard", model)
    assert regime.model is model
    assert regime.lr_scale == 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# --- output scale -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 1.0, 1000.0])
def test_outputs_are_exactly_zero_at_initialisation(alpha, data):
    assert (_regime("output_scale", alpha=alpha).model(data[0]) == 0).all()


@pytest.mark.parametrize("alpha", [0.1, 7.0])
def test_outputs_are_alpha_times_the_networks_change(alpha, data):
    regime, original = _regime("output_scale", alpha=alpha), _network()
    with torch.no_grad():
        for parameter in regime.model.parameters():
            parameter.add_(torch.randn_like(parameter))
        expected = alpha * (regime.model.network(data[0]) - original(data[0]))
        torch.testing.assert_close(regime.model(data[0]), expected)
    assert regime.lr_scale == pytest.approx(alpha**-2)


def test_the_copy_at_initialisation_is_stored_but_never_trained(data):
    model = _regime("output_scale", alpha=2.0).model
    assert all(name.startswith("network.") for name, _ in model.named_parameters())
    frozen = {name: value.clone() for name, value in model.named_buffers()}
    assert len(frozen) == len(list(model.parameters())) == 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(data[0]).sum().backward()
    optimizer.step()
    for name, value in model.named_buffers():
        assert torch.equal(value, frozen[name])
        assert not torch.equal(value, model.get_parameter(name.replace("initial.", "network.")))
    restored = _regime("output_scale", _network(seed=5), alpha=2.0).model
    restored.load_state_dict(model.state_dict())
    assert torch.equal(restored(data[0]), model(data[0]))


def test_the_copy_stays_in_eval_mode():
    model = _regime("output_scale", nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)), alpha=1.0).model
    assert model.train().network.training
    assert not any(m.training for m in model.initial.modules())
    x = torch.randn(4, 6)
    assert torch.equal(model.initial(x), model.initial(x))


def _one_step(alpha, data, lr):
    """The change of the outputs in one step of gradient descent on ½‖f − y‖²."""
    x, y = data
    regime = _regime("output_scale", alpha=alpha)
    optimizer = torch.optim.SGD(regime.model.parameters(), lr=lr * regime.lr_scale)
    (0.5 * (regime.model(x) - y).square().sum()).backward()
    optimizer.step()
    with torch.no_grad():
        return regime.model(x)


def test_a_step_changes_outputs_as_the_kernel_predicts_more_exactly_as_alpha_grows(data):
    """Δf = −lr·K ∂L/∂f for every α, up to a second-order term that falls as 1/α."""
    x, y = data
    lr = 0.01
    kernel = empirical_ntk(_network(), x)
    predicted = lr * torch.einsum("ncmd,md->nc", kernel, y)  # f = 0, so −∂L/∂f = y
    off = {
        a: ((_one_step(a, data, lr) - predicted).norm() / predicted.norm()).item() for a in (1, 10, 100, 1000)
    }
    assert 0.01 < off[1] < 0.3
    for a in (10, 100):
        assert off[a] / off[10 * a] == pytest.approx(10, rel=0.1)
    assert off[1000] < 1e-3


def test_lazier_networks_move_their_weights_less_for_the_same_loss(data):
    x, y = data

    def moved(alpha):
        regime = _regime("output_scale", alpha=alpha)
        start = [p.detach().clone() for p in regime.model.parameters()]
        optimizer = torch.optim.SGD(regime.model.parameters(), lr=0.01 * regime.lr_scale)
        for _ in range(2000):
            loss = 0.5 * (regime.model(x) - y).square().sum()
            if loss < 0.5:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss < 0.5
        return (
            sum((a - b).square().sum() for a, b in zip(regime.model.parameters(), start, strict=True))
            .sqrt()
            .item()
        )

    assert moved(100) / moved(1000) == pytest.approx(10, rel=0.05)
    assert moved(1) / moved(100) > 30


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_alpha_is_positive(alpha):
    with pytest.raises(OptionError, match="alpha: expected greater than 0"):
        _regime("output_scale", alpha=alpha)


# --- initial scale ----------------------------------------------------------------------------------------


def _layers(regime):
    return [m.weight for m in weight_layers(regime.model)]


def test_scale_multiplies_weights_and_leaves_biases():
    plain = _network(bias_init=0.25)
    for scale, factors in ((2.0, [2.0, 2.0]), ([0.5, 3.0], [0.5, 3.0])):
        regime = _regime("init_scale", _network(bias_init=0.25), scale=scale)
        for weight, factor, was in zip(_layers(regime), factors, weight_layers(plain), strict=True):
            assert torch.equal(weight, factor * was.weight)
        assert (regime.model.hidden1.linear.bias == 0.25).all()
        assert regime.lr_scale == 1


def test_sd_redraws_the_layers_it_names():
    """The sample sd of 1200 draws has a relative standard error of 1/√2400; five of them are allowed."""
    regime = _regime("init_scale", _network(width=400), sd=[None, 0.01])
    plain = _network(width=400)
    assert torch.equal(_layers(regime)[0], plain.hidden1.linear.weight)
    assert _layers(regime)[1].std().item() == pytest.approx(0.01, rel=5 / 2400**0.5)
    assert not torch.allclose(_layers(regime)[1] / 0.01, plain.readout.weight * 20)


def test_input_sd_redraws_columns_of_the_first_layer():
    regime = _regime("init_scale", _network(width=400), input_sd={"stimulus": 0.01, "context": 5.0})
    first, readout = _layers(regime)
    assert first[:, :4].std().item() == pytest.approx(0.01, rel=5 / 3200**0.5)
    assert first[:, 4:].std().item() == pytest.approx(5.0, rel=5 / 1600**0.5)
    assert torch.equal(readout, _network(width=400).readout.weight)
    untouched = _layers(_regime("init_scale", _network(), input_sd={"context": 5.0}))[0]
    assert torch.equal(untouched[:, :4], _network().hidden1.linear.weight[:, :4])


@pytest.mark.parametrize(
    ("rich", "lazy", "ratio"),
    [
        ({"scale": 0.1}, {"scale": 3.0}, 30),
        ({"sd": [0.1, 0.01]}, {"sd": [3.0, 0.3]}, 30),
        (
            {"input_sd": {"stimulus": 0.1, "context": 0.5}, "sd": [None, 0.1]},
            {"input_sd": {"stimulus": 3.0, "context": 15.0}, "sd": [None, 3.0]},
            30,
        ),
    ],
)
def test_regimes_of_one_seed_differ_in_scale_alone(rich, lazy, ratio):
    for a, b in zip(
        *(_layers(_regime("init_scale", _network(), **options)) for options in (rich, lazy)), strict=True
    ):
        torch.testing.assert_close(b / a, torch.full_like(a, ratio))


@pytest.mark.parametrize("option", ["scale", "sd"])
@pytest.mark.parametrize("entries", [[], [1.0], [1.0] * 3])
def test_another_number_of_layers_is_refused(option, entries):
    message = rf"init_scale.{option}: expected 2 entries, one a layer, found {len(entries)}"
    with pytest.raises(DataError, match=message):
        _regime("init_scale", **{option: entries})


def test_an_input_group_the_stream_lacks_is_refused():
    with pytest.raises(DataError, match=r"expected input groups \['context', 'stimulus'\], found 'contxt'"):
        _regime("init_scale", input_sd={"contxt": 1.0})


def test_weights_stay_trainable(data):
    regime = _regime("init_scale", scale=2.0, sd=[None, 0.1], input_sd={"context": 1.0})
    regime.model(data[0]).sum().backward()
    assert all(p.grad is not None for p in regime.model.parameters())
