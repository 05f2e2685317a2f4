"""NTK, maximal-update and mean-field parametrisation: what each changes, exactly, and what width then does."""

import copy
import math

import pytest
import torch
from torch import nn

from clntk import registry
from clntk.errors import DataError
from clntk.kernels.empirical import empirical_ntk
from clntk.models.transformer import Attention
from clntk.protocol import expand, load
from clntk.regimes.base import Regime, weight_layers
from clntk.regimes.rescale import Rescaled
from clntk.runs.build import build
from clntk.shape import TaskShape

SHAPE = TaskShape((6,), 3)
SEQUENCE = TaskShape((4, 6), 3)
IMAGE = TaskShape((2, 5, 5), 3)
SMALL = {
    "mlp": {"width": 16, "depth": 2, "activation": "tanh"},
    "cnn": {"channels": (4, 5)},
    "resnet": {"width": 4},
    "rnn": {"width": 16, "depth": 2, "cell": "gru"},
    "transformer": {"width": 16, "depth": 2},
}


def _network(name="mlp", shape=SHAPE, seed=0, **options):
    torch.manual_seed(seed)
    return registry.get("model", name)(shape, **{**SMALL[name], **options}).double()


def _regime(name, model, shape=SHAPE, **options) -> Regime:
    return registry.get("regime", name)(model, shape, **options)


def _biased(model):
    """The same network with biases, norms and all away from their round values."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(torch.linspace(-0.5, 0.5, p.numel(), dtype=p.dtype))
    return model


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(1)
    return tuple(torch.randn(10, k, generator=g, dtype=torch.float64) for k in (6, 3))


def _descend(model, groups, data, steps=5, optimizer=torch.optim.SGD, **options):
    """Outputs and losses of full-batch steps on ½‖f − y‖² over the examples."""
    x, y = data
    optimizer = optimizer(groups, **options)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = 0.5 * (model(x) - y).square().mean(0).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model(x).detach(), losses


# --- the function at initialisation -----------------------------------------------------------------------

NETWORKS = [("mlp", SHAPE), ("cnn", IMAGE), ("resnet", IMAGE), ("rnn", SEQUENCE), ("transformer", SEQUENCE)]


@pytest.mark.parametrize(("name", "shape"), NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_ntk_parametrisation_keeps_the_function(name, shape, training):
    model = _biased(_network(name, shape)).train(training)
    plain, x = copy.deepcopy(model), torch.randn(5, *shape.inputs, dtype=torch.float64)
    regime = _regime("ntk_parametrization", model, shape)
    assert regime.lr_scale == 1
    torch.testing.assert_close(regime.model(x), plain(x), rtol=1e-9, atol=1e-12)
    for layer in weight_layers(regime.model):
        assert layer.weight.square().mean().item() == pytest.approx(1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("name", "shape"), NETWORKS)
def test_mup_shrinks_the_readout_and_attention_and_nothing_else(name, shape, optimizer):
    model = _biased(_network(name, shape))
    plain, x = copy.deepcopy(model), torch.randn(5, *shape.inputs, dtype=torch.float64)
    m = weight_layers(plain)[-1].in_features / 3
    weight_layers(plain)[-1].weight.data.div_(math.sqrt(m))
    for module in plain.modules():
        if isinstance(module, Attention):
            module.scale /= math.sqrt(m)
    regime = _regime("mup", model, shape, base_width=3, optimizer=optimizer)
    torch.testing.assert_close(regime.model(x), plain(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_mup_at_the_base_width_is_the_standard_network(data, optimizer):
    model = _biased(_network())
    plain = copy.deepcopy(model)
    regime = _regime("mup", model, base_width=16, optimizer=optimizer)
    for a, b in zip(regime.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(regime.model(data[0]), plain(data[0]))


@pytest.mark.parametrize("centred", [True, False])
def test_mean_field_divides_the_output_by_gamma(data, centred):
    plain = _network()
    regime = _regime("mean_field", _network(), gamma0=0.5, centred=centred)
    gamma = 0.5 * math.sqrt(16)
    assert regime.lr_scale == pytest.approx(gamma**2)
    expected = torch.zeros(10, 3).double() if centred else plain(data[0]) / gamma
    torch.testing.assert_close(regime.model(data[0]), expected, rtol=1e-9, atol=1e-12)


def test_given_spreads_are_drawn_anew():
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    model = _network(width=400)
    regime = _regime("ntk_parametrization", model, sigma_w=[1.5, 0.5, 2.0], sigma_b=0.1)
    assert not torch.allclose(model.hidden1.linear.layer.weight, _network(width=400).hidden1.linear.weight)
    x = torch.randn(2, 6, dtype=torch.float64)
    for layer, sigma in zip(
        (model.hidden1.linear, model.hidden2.linear, model.readout), (1.5, 0.5, 2.0), strict=True
    ):
        weight, bias = layer.layer.weight, layer.layer.bias
        assert weight.std().item() == pytest.approx(1, rel=5 / math.sqrt(2 * weight.numel()))
        if len(bias) > 3:
            assert bias.std().item() == pytest.approx(1, rel=5 / math.sqrt(2 * len(bias)))
        x = torch.randn(2, weight.shape[1], dtype=torch.float64)
        torch.testing.assert_close(layer(x), sigma / math.sqrt(weight.shape[1]) * x @ weight.T + 0.1 * bias)
    assert regime.model is model


def test_a_layer_that_starts_at_zero_keeps_its_zeros():
    model = _network()
    nn.init.zeros_(model.readout.weight)
    _regime("ntk_parametrization", model)
    assert (model.readout.layer.weight == 0).all()
    assert model.readout.inner.item() == pytest.approx(1 / 4)


# --- learning rates ---------------------------------------------------------------------------------------


def test_ntk_parametrisation_is_a_learning_rate_for_each_layer(data):
    """W = c·θ under gradient descent on θ moves as under gradient descent on W at c² the rate."""
    model, plain = _biased(_network()), _biased(_network())
    regime = _regime("ntk_parametrization", model, sigma_b=None)
    wrapped = [m for m in regime.model.modules() if isinstance(m, Rescaled)]
    layers = weight_layers(plain)
    groups = [
        {"params": [layer.weight], "lr": 0.1 * (w.inner * w.outer).item() ** 2}
        for layer, w in zip(layers, wrapped, strict=True)
    ]
    groups += [{"params": [layer.bias], "lr": 0.1} for layer in layers]
    expected, losses = _descend(plain, groups, data)
    found, again = _descend(regime.model, regime.model.parameters(), data, lr=0.1)
    torch.testing.assert_close(found, expected)
    assert again == pytest.approx(losses)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("name", "shape"), [("mlp", SHAPE), ("rnn", SEQUENCE), ("transformer", SEQUENCE)])
def test_mup_for_sgd_is_the_table_of_learning_rates(name, shape, momentum):
    """Yang et al. 2022, table 3: input weights and all biases fan-out, hidden weights 1, read-out weights 1/fan-in."""
    g = torch.Generator().manual_seed(1)
    data = tuple(torch.randn(10, *k, generator=g, dtype=torch.float64) for k in (shape.inputs, (3,)))
    model = _biased(_network(name, shape))
    plain, m = copy.deepcopy(model), 16 / 5
    regime = _regime("mup", model, shape, base_width=5)
    assert (regime.lr_scale, regime.optimizer) == (1, "sgd")
    layers = weight_layers(plain)
    layers[-1].weight.data.div_(math.sqrt(m))
    for module in plain.modules():
        if isinstance(module, Attention):
            module.scale /= math.sqrt(m)
    rates = {id(layer.weight): 1 for layer in layers} | {
        id(layers[0].weight): m,
        id(layers[-1].weight): 1 / m,
        id(layers[-1].bias): 1,
    }
    groups = [{"params": [p], "lr": 0.02 * rates.get(id(p), m)} for p in plain.parameters()]
    expected, losses = _descend(plain, groups, data, momentum=momentum)
    found, _ = _descend(regime.model, regime.model.parameters(), data, lr=0.02, momentum=momentum)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    assert losses[-1] < 0.98 * losses[0]


def test_mup_for_adam_is_the_table_of_learning_rates(data):
    """Yang et al. 2022, table 3: input weights and biases 1, hidden and read-out weights 1/fan-in."""
    model, plain, m = _biased(_network()), _biased(_network()), 16 / 5
    regime = _regime("mup", model, base_width=5, optimizer="adam")
    assert (regime.lr_scale, regime.optimizer) == (1, "adam")
    first, hidden, readout = weight_layers(plain)
    readout.weight.data.div_(math.sqrt(m))
    rates = {id(hidden.weight): 1 / m, id(readout.weight): 1 / m}
    assert id(first.weight) not in rates
    groups = [{"params": [p], "lr": 0.01 * rates.get(id(p), 1)} for p in plain.parameters()]
    adam = {"optimizer": torch.optim.Adam, "eps": 1e-30}
    expected, losses = _descend(plain, groups, data, **adam)
    found, _ = _descend(regime.model, regime.model.parameters(), data, lr=0.01, **adam)
    torch.testing.assert_close(found, expected)
    assert losses[-1] < 0.95 * losses[0]


def test_mean_field_is_the_output_scale_of_the_network_in_ntk_parametrisation(data):
    mean_field = _regime("mean_field", _network(), gamma0=0.3)
    alpha = 1 / (0.3 * math.sqrt(16))
    scaled = _regime("output_scale", _regime("ntk_parametrization", _network()).model, alpha=alpha)
    assert mean_field.lr_scale == pytest.approx(scaled.lr_scale)
    runs = [_descend(r.model, r.model.parameters(), data, lr=0.05 * r.lr_scale) for r in (mean_field, scaled)]
    torch.testing.assert_close(runs[0][0], runs[1][0])


def test_mean_field_starts_to_learn_as_in_ntk_parametrisation(data):
    """Δf of one step is −lr·K ∂L/∂f with the same K for every γ₀, up to second order, which falls with γ₀."""
    x, y = data
    kernel = empirical_ntk(_regime("ntk_parametrization", _network()).model, x)
    predicted = 0.05 * torch.einsum("ncmd,md->nc", kernel, y) / len(x)
    off = []
    for gamma0 in (0.1, 0.01, 0.001):
        regime = _regime("mean_field", _network(), gamma0=gamma0)
        found, _ = _descend(regime.model, regime.model.parameters(), data, steps=1, lr=0.05 * regime.lr_scale)
        off.append(((found - predicted).norm() / predicted.norm()).item())
    assert off[0] / off[1] == pytest.approx(10, rel=0.1)
    assert off[1] / off[2] == pytest.approx(10, rel=0.1)
    assert off[2] < 1e-3


# --- what width does --------------------------------------------------------------------------------------

WIDTHS = (64, 256, 1024)


def _kernel_norm(regime, width):
    model = _regime(regime, _network(width=width, activation="relu")).model
    g = torch.Generator().manual_seed(2)
    return (
        empirical_ntk(model, torch.randn(8, 6, generator=g, dtype=torch.float64), mode="trace").norm().item()
    )


def test_the_kernel_has_the_same_size_at_every_width_in_ntk_parametrisation_alone():
    """In standard parametrisation it grows as width; fluctuations are of order 1/√width, an eighth at 64."""
    ntk = [_kernel_norm("ntk_parametrization", width) for width in WIDTHS]
    standard = [_kernel_norm("standard", width) for width in WIDTHS]
    assert max(ntk) / min(ntk) < 1.3
    assert standard[-1] / standard[0] == pytest.approx(16, rel=0.3)


def test_the_kernel_is_jacots_with_the_given_spreads():
    """One hidden ReLU layer, arc-cosine kernels of order 0 and 1. At width 20,000 the mean of the squared read-out
    weights has a relative standard error of 1 %; over eight draws, 2 % are more than five of them."""
    x = torch.tensor([[1.0, 0.0, 0.5], [0.2, -1.0, 0.3], [-0.4, 0.1, 2.0]])
    found = torch.zeros(3, 3, dtype=torch.float64)
    for seed in range(8):
        torch.manual_seed(seed)
        network = registry.get("model", "mlp")(TaskShape((3,), 1), width=20_000, depth=1)
        regime = _regime("ntk_parametrization", network, sigma_w=[math.sqrt(2), 1.0], sigma_b=0.3)
        found += empirical_ntk(regime.model, x, mode="trace").double() / 8
    sigma = 2 * (x @ x.T).double() / 3 + 0.09
    scale = sigma.diag().sqrt()
    angle = (sigma / scale[:, None] / scale).clamp(-1, 1).arccos()
    nngp = scale[:, None] * scale * (angle.sin() + (math.pi - angle) * angle.cos()) / (2 * math.pi)
    slopes = (math.pi - angle) / (2 * math.pi)
    torch.testing.assert_close(found, nngp + 0.09 + sigma * slopes, rtol=0.02, atol=0)


def _movement(regime, width, seed, *, adam=False, **options):
    """Relative movement of the last hidden layer's units in 40 full-batch steps, on 20 examples."""
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(20, k, generator=g) for k in (6, 3))
    network = _network(width=width, seed=seed).float()
    started = _regime(regime, network, **options)
    before = network.hidden2(network.hidden1(x)).detach()
    optimizer, lr = (torch.optim.Adam, 0.003) if adam else (torch.optim.SGD, 0.1)
    _descend(
        started.model,
        started.model.parameters(),
        (x, y),
        steps=40,
        optimizer=optimizer,
        lr=lr * started.lr_scale,
    )
    after = network.hidden2(network.hidden1(x)).detach()
    return ((after - before).norm() / before.norm()).item()


def _slope(regime, **options):
    """Of log movement over log width, and the movements, means over three seeds."""
    moved = [sum(_movement(regime, w, s, **options) for s in range(3)) / 3 for w in WIDTHS]
    logs = torch.tensor([[math.log(w), math.log(v)] for w, v in zip(WIDTHS, moved, strict=True)])
    centred = logs - logs.mean(0)
    return (centred[:, 0] @ centred[:, 1] / centred[:, 0].square().sum()).item(), moved


def test_features_move_less_in_wider_networks_in_ntk_parametrisation():
    slope, _ = _slope("ntk_parametrization")
    assert slope == pytest.approx(-0.5, abs=0.1)


@pytest.mark.parametrize(
    ("regime", "options"),
    [
        ("mup", {}),
        ("mup", {"optimizer": "adam", "adam": True}),
        ("mean_field", {"gamma0": 1.0}),
        ("mean_field", {"gamma0": 0.1}),
    ],
)
def test_features_move_alike_at_every_width(regime, options):
    slope, moved = _slope(regime, **options)
    assert slope == pytest.approx(0, abs=0.1)
    assert moved[-1] > 0.05


def test_features_move_in_proportion_to_gamma0_while_it_is_small():
    moved = [_movement("mean_field", 256, 0, gamma0=gamma0) for gamma0 in (0.04, 0.004)]
    assert moved[0] / moved[1] == pytest.approx(10, rel=0.1)


# --- what is refused --------------------------------------------------------------------------------------


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.readout = nn.RNN(6, 5, batch_first=True), nn.Linear(5, 3)


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.readout = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight


class _Subclass(nn.Linear):
    pass


@pytest.mark.parametrize("regime", ["ntk_parametrization", "mup", "mean_field"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_Recurrent, r"found cell.weight_ih_l0 in a RNN, which cannot be rescaled from outside"),
        (_Tied, r"expected each parameter in one layer, found a.weight in several; untie them"),
        (lambda: nn.Sequential(_Subclass(6, 3)), r"found 0.weight in a _Subclass"),
    ],
)
def test_weights_that_cannot_be_rescaled_are_refused(regime, make, message):
    with pytest.raises(DataError, match=message):
        _regime(regime, make())


@pytest.mark.parametrize("regime", ["ntk_parametrization", "mup", "mean_field"])
def test_a_network_without_layers_is_refused(regime):
    with pytest.raises(DataError, match=rf"{regime}: expected a network with .*layers.*, found none"):
        _regime(regime, nn.Sequential(nn.BatchNorm1d(6)))


def test_mup_needs_a_layer_before_the_readout():
    with pytest.raises(DataError, match="mup: expected a first layer and a read-out, found 1 layer"):
        _regime("mup", nn.Sequential(nn.Linear(6, 3)))


def test_tokens_reach_an_embedding_as_they_are():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3))
    tokens, plain = torch.tensor([[0, 3, 6], [5, 1, 1]]), copy.deepcopy(model)
    plain[4].weight.data.div_(2)
    regime = _regime("mup", model, base_width=4)
    torch.testing.assert_close(regime.model(tokens), plain(tokens))
    # the embedding learns m = 4 times as fast, the layer above it is a hidden one and learns as before
    torch.testing.assert_close(regime.model[0].layer.weight, plain[0].weight / 2)
    assert torch.equal(regime.model[2].layer.weight, plain[2].weight)


@pytest.mark.parametrize("regime", ["ntk_parametrization", "mean_field"])
def test_another_number_of_spreads_is_refused(regime):
    with pytest.raises(DataError, match=rf"{regime}.sigma_w: expected 3 entries, one a layer, found 2"):
        _regime(regime, _network(), sigma_w=[1.0, 1.0])


def test_a_lone_layer_is_rescaled_too():
    layer = nn.Linear(6, 3).double()
    x, before = torch.randn(4, 6, dtype=torch.float64), copy.deepcopy(layer)
    regime = _regime("ntk_parametrization", layer)
    assert isinstance(regime.model, Rescaled)
    torch.testing.assert_close(regime.model(x), before(x))


def test_a_layer_that_is_used_twice_is_rescaled_once():
    layer = nn.Linear(6, 6).double()
    model = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(6, 3).double())
    x, before = torch.randn(4, 6, dtype=torch.float64), copy.deepcopy(model)
    regime = _regime("ntk_parametrization", model)
    assert regime.model[0] is regime.model[2]
    torch.testing.assert_close(regime.model(x), before(x))


@pytest.mark.parametrize(
    ("regime", "used", "fits"),
    [
        ({"name": "mup"}, "adam", False),
        ({"name": "mup"}, "sgd", True),
        ({"name": "mup", "optimizer": "adam"}, "adam", True),
        ({"name": "mup", "optimizer": "adam"}, "sgd", False),
        ({"name": "mean_field"}, "adam", False),
        ({"name": "ntk_parametrization"}, "adam", True),
    ],
)
def test_scales_for_another_optimizer_are_refused(write_protocol, tmp_path, regime, used, fits):
    strategy = {"name": "naive", "optimizer": used}
    (spec,) = expand(load(write_protocol(tmp_path, regimes={"mine": regime}, strategy=strategy)))
    if fits:
        assert build(spec).regime.lr_scale > 0
    else:
        with pytest.raises(
            DataError, match=rf"strategy.optimizer: expected \w+, for which .* mine .* found {used}"
        ):
            build(spec)
