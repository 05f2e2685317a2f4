"""Specifications read off networks: what they say, that the networks converge to them, and what has none."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

import clntk
from clntk import InfiniteSpec, registry
from clntk.errors import DataError
from clntk.kernels.infinite.draws import spread
from clntk.models.linearize import linearize
from clntk.shape import TaskShape

FLAT, IMAGE = TaskShape((6,), 3), TaskShape((1, 4, 4), 3)


def inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(model, shape=FLAT, regime="standard", *, seed=0, under=None, **options):
    torch.manual_seed(seed)
    made = registry.get("model", model)(shape, **options).double()
    return registry.get("regime", regime)(made, shape, **(under or {})).model


def weights(spec):
    return [layer.weights for layer in spec.layers if hasattr(layer, "weights")]


# --- what is read -----------------------------------------------------------------------------------------


def test_ntk_parametrisation_is_read_exactly():
    under = {"sigma_w": [1.5, 1.2, 0.8], "sigma_b": 0.3}
    x = inputs(4, 6)
    for activation in ("relu", "tanh", "identity"):
        model = network("mlp", regime="ntk_parametrization", under=under, width=64, activation=activation)
        spec = InfiniteSpec.fully_connected(activation=activation, **under)
        for kernel in (clntk.infinite_nngp, clntk.infinite_ntk):
            assert torch.allclose(kernel(model, x), kernel(spec, x), rtol=1e-12)


def test_a_kept_draw_has_its_own_spread_and_biases_that_start_at_zero_are_trained():
    model = network("mlp", regime="ntk_parametrization", width=64, depth=1)
    first, readout = weights(InfiniteSpec.of(model))
    linear = model.hidden1.linear
    assert first.sigma_w == pytest.approx(float(linear.inner * linear.outer) * math.sqrt(6), rel=1e-12)
    assert first.weight_gain == pytest.approx(first.sigma_w**2, rel=1e-12)
    assert (first.sigma_b, first.bias_gain, readout.sigma_b, readout.bias_gain) == (0, 1, 0, 1)


def test_standard_parametrisation_is_read_with_its_widths():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 400), nn.GELU(), nn.Linear(400, 300, bias=False), nn.ReLU(), nn.Linear(300, 2)
    )
    first, second, readout = weights(InfiniteSpec.of(model))
    assert [w.weight_gain for w in (first, second, readout)] == [6, 400, 300]
    assert [w.bias_gain for w in (first, second, readout)] == [1, 0, 1]
    assert [w.sigma_w for w in (first, second, readout)] == pytest.approx([1 / math.sqrt(3)] * 3, rel=0.05)
    assert first.sigma_b == pytest.approx(1 / math.sqrt(18), rel=0.1)
    assert second.sigma_b == 0


def test_an_activation_that_is_used_twice_is_read_twice():
    torch.manual_seed(0)
    relu = nn.ReLU()
    first, second, third = nn.Linear(6, 64), nn.Linear(64, 64), nn.Linear(64, 2)
    shared = InfiniteSpec.of(nn.Sequential(first, relu, second, relu, third))
    assert shared == InfiniteSpec.of(nn.Sequential(first, nn.ReLU(), nn.Sequential(second, nn.ReLU()), third))


def test_init_scale_is_read():
    plain, scaled = (
        weights(InfiniteSpec.of(network("mlp", regime="init_scale", under={"scale": s}, width=32)))
        for s in (1.0, [2.0, 0.5, 3.0])
    )
    for before, after, factor in zip(plain, scaled, (2.0, 0.5, 3.0), strict=True):
        assert after.sigma_w == pytest.approx(factor * before.sigma_w)
        assert after.weight_gain == before.weight_gain


def test_frozen_parameters_have_no_part_in_the_tangent_kernel():
    x = inputs(4, 6)
    features, plain = network("random_features", width=64), network("mlp", width=64, depth=1)
    nngp = clntk.infinite_nngp(plain, x)
    assert torch.allclose(clntk.infinite_nngp(features, x), nngp)
    readout = weights(InfiniteSpec.of(features))[-1]
    expected = 64 * nngp / readout.sigma_w**2 + 1
    for model in (features, network("mlp", regime="frozen_features", width=64, depth=1)):
        assert torch.allclose(clntk.infinite_ntk(model, x), expected)


def test_a_centred_output_starts_at_zero_and_moves_further():
    x = inputs(4, 6)
    plain = network("mlp")
    centred = network("mlp", regime="output_scale", under={"alpha": 5.0})
    assert torch.allclose(clntk.infinite_ntk(centred, x), 25 * clntk.infinite_ntk(plain, x))
    assert (clntk.infinite_nngp(centred, x) == 0).all()


def test_a_linearised_network_has_the_kernels_of_the_network():
    x, model = inputs(4, 6), network("mlp")
    assert torch.equal(clntk.infinite_ntk(linearize(model), x), clntk.infinite_ntk(model, x))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.Conv2d(1, 8, (3, 2), padding=(0, 1)),
        nn.Conv2d(1, 8, 3, stride=(5, 1), padding=1),
        nn.Conv2d(1, 8, 4, padding="same"),
        nn.Conv2d(1, 8, 3, padding="valid"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolutions_have_the_geometry_of_torch(conv):
    """Of a constant image, what varies over positions is the number of pixels under the kernel."""
    spec = InfiniteSpec.of(nn.Sequential(conv, nn.Flatten(), nn.Linear(2, 2)))
    ones = torch.ones(1, 1, 6, 5, dtype=torch.float64)
    from clntk.kernels.infinite.covariance import Covariances

    found = spec.layers[0](Covariances.of(ones, ones, "same", tangent=False)).across[0, 0]
    with torch.no_grad():
        conv.double().weight.fill_(1.0)
        conv.bias.zero_()
        covered = conv(ones)[0, 0] / conv.weight[0].numel()
    w = spec.layers[0].weights
    assert torch.allclose(found, w.sigma_w**2 * covered + w.sigma_b**2)


# --- convergence ------------------------------------------------------------------------------------------


def mean_error(make, x, expected, seeds):
    """Mean over networks of the relative Frobenius error of the mean over outputs of the tangent kernel."""
    found = [clntk.empirical_ntk(make(seed), x, mode="trace") / 3 for seed in range(seeds)]
    return np.mean([float((k - expected).norm() / expected.norm()) for k in found])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_empirical_kernels_converge_as_the_root_of_the_width(activation):
    """Errors of 24 networks a width have a mean known to about 7 %: over 4 octaves the slope, to .03 (one s.e.)."""
    under = {"sigma_w": [1.4, 1.4, 1.0], "sigma_b": 0.2}
    widths, x = [32, 128, 512], inputs(5, 6)
    expected = clntk.infinite_ntk(InfiniteSpec.fully_connected(activation=activation, **under), x)

    def make(width, seed):
        return network(
            "mlp", regime="ntk_parametrization", under=under, seed=seed, width=width, activation=activation
        )

    errors = [mean_error(functools.partial(make, width), x, expected, 24) for width in widths]
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.12)
    assert errors[-1] < 0.1


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_outputs_of_wide_networks_have_the_covariance(activation):
    """Over 300 networks of 3 outputs: 900 draws of a Gaussian, entries within 5 standard errors."""
    under = {"sigma_w": [1.4, 1.4, 1.0], "sigma_b": 0.2}
    x, draws = inputs(4, 6), []
    for seed in range(300):
        model = network(
            "mlp", regime="ntk_parametrization", under=under, seed=seed, width=128, activation=activation
        )
        with torch.no_grad():
            draws.append(model(x))
    f = torch.cat(draws, 1)
    expected = clntk.infinite_nngp(InfiniteSpec.fully_connected(activation=activation, **under), x)
    d = expected.diagonal()
    error = ((expected**2 + d[:, None] * d) / f.shape[1]).sqrt()
    assert ((f @ f.T / f.shape[1] - expected).abs() / error).max() < 5


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
def test_convolutional_networks_converge_to_their_twin(pooling):
    x = inputs(3, 1, 4, 4)
    x[0, :, :2] = 0  # patches of nothing but zeros, where torch's derivative of ReLU is 0

    def make(width, seed):
        options = {"channels": (width, width), "stride": 1, "pooling": pooling, "activation": "relu"}
        under = {"sigma_w": [1.4, 1.4, 1.0]}
        return network("cnn", IMAGE, "ntk_parametrization", seed=seed, under=under, **options)

    expected = clntk.infinite_ntk(make(16, 0), x)
    errors = [mean_error(functools.partial(make, width), x, expected, 8) for width in (16, 128)]
    assert errors[1] < 0.1
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("regime", ["standard", "init_scale", "output_scale", "linearized"])
def test_networks_of_any_regime_with_a_twin_are_near_it(regime):
    """One wide network: its kernel within 4 standard deviations (about 5 % at this width) of the twin read off it."""
    x = inputs(5, 6)
    under = {"init_scale": {"scale": 0.7}, "output_scale": {"alpha": 3.0}}.get(regime)
    model = network("mlp", regime=regime, under=under, width=512, depth=2)
    expected = clntk.infinite_ntk(model, x)
    found = clntk.empirical_ntk(model, x, mode="trace") / 3
    assert (found - expected).norm() < 0.2 * expected.norm()


def test_the_standard_tangent_kernel_grows_as_the_width():
    """Θ_n/n tends to a limit, Θ_n itself does not; and the empirical kernel over Θ_n tends to 1."""
    x, options = (
        inputs(5, 6),
        {"sigma_w": [1.4, 1.4, 1.0], "sigma_b": 0.0, "parametrization": "standard", "inputs": 6},
    )

    def theta(n):
        return clntk.infinite_ntk(InfiniteSpec.fully_connected(width=n, **options), x)

    assert torch.allclose(theta(2**20) / 2**20, theta(2**30) / 2**30, rtol=1e-4)
    assert not torch.allclose(theta(64) / 64, theta(2**30) / 2**30, rtol=1e-2)

    def make(n, seed):
        under = {"sd": [1.4 / math.sqrt(6), 1.4 / math.sqrt(n), 1 / math.sqrt(n)]}
        return network("mlp", FLAT, "init_scale", under=under, width=n, seed=seed)

    widths = [32, 512]
    errors = [mean_error(functools.partial(make, n), x, theta(n), 16) for n in widths]
    assert np.polyfit(np.log(widths), np.log(errors), 1)[0] == pytest.approx(-0.5, abs=0.12)


# --- refused ----------------------------------------------------------------------------------------------


def tied():
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.ReLU(), layer)


def row_scaled():
    layer = nn.Linear(64, 64)
    with torch.no_grad():
        layer.weight[:32] *= 5
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(64, 2))


def orthogonal():
    layer = nn.Linear(64, 64, bias=False)
    nn.init.orthogonal_(layer.weight)
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(64, 2))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        return x + self.inner(x)


def behind(*modules):
    return nn.Sequential(nn.Linear(6, 64), *modules, nn.Linear(64, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: behind(nn.BatchNorm1d(64)), r"module '1' \(BatchNorm1d\)"),
        (
            lambda: behind(nn.LayerNorm(64, elementwise_affine=False)),
            r"module '1' \(LayerNorm\).*has no infinite-width",
        ),
        (lambda: behind(nn.Dropout(0.5)).eval(), r"module '1' \(Dropout\)"),
        (lambda: behind(nn.PReLU()), r"module '1' \(PReLU\)"),
        (lambda: behind(nn.Softmax(-1)), r"module '1' \(Softmax\).*makes one entry depend on the others"),
        (lambda: nn.Sequential(Residual(), nn.Linear(6, 2)), r"module '0' \(Residual\)"),
        (lambda: nn.Sequential(nn.Linear(6, 64), nn.ReLU()), "expected a linear read-out"),
        (tied, "found 0.weight in several"),
        (
            lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 2)),
            "groups 1, found 2",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(4, 4, 3, dilation=2), nn.Flatten(), nn.Linear(4, 2)),
            "expected dilation",
        ),
        (
            lambda: nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(4, 2)
            ),
            "padding_mode 'zeros', found 'circular'",
        ),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))), "ParametrizedLinear"),
        (lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 2))), "found one that is computed"),
        (row_scaled, "module '0' .*weight.*a spread that differs between outputs"),
        (orthogonal, "depend on one another"),
        (lambda: network("mlp", bias_init=0.1, width=64), "hidden1.linear.*bias: .*found entries.* 0.1"),
        (
            lambda: network("deep_linear", init="balanced", width=64),
            "hidden1.linear.*expected independent draws",
        ),
        (lambda: network("mlp", regime="mean_field"), "CentredOutput.*mean-field scaling"),
        (
            lambda: network("mlp", regime="mean_field", under={"centred": False}),
            "ScaledOutput.*mean-field scaling",
        ),
        (
            lambda: network("mlp", regime="mup", under={"base_width": 32}),
            "hidden1.linear.*Rescaled.*such as mup",
        ),
        (lambda: network("resnet", IMAGE, width=4), "infinite width, module 'stem"),
        (lambda: network("transformer", IMAGE, width=8), "infinite width, module 'patches'"),
        (lambda: network("rnn", TaskShape((3, 4), 2), width=8), "infinite width, module"),
    ],
)
def test_networks_without_a_twin_are_refused_by_part(make, message):
    torch.manual_seed(0)
    with pytest.raises(DataError, match=message):
        InfiniteSpec.of(make())


def test_a_first_layer_drawn_apart_by_groups_of_inputs_is_refused():
    shape = TaskShape((6,), 3, {"stimulus": (0, 4), "context": (4, 6)})
    model = network(
        "mlp", shape, "init_scale", under={"input_sd": {"stimulus": 0.01, "context": 0.5}}, width=64
    )
    with pytest.raises(DataError, match=r"hidden1.linear.*a spread that differs between inputs"):
        InfiniteSpec.of(model)


@pytest.mark.parametrize(
    "draw", [torch.randn, lambda *size, generator: torch.rand(*size, generator=generator) - 0.5]
)
@pytest.mark.parametrize("size", [(4, 4), (10, 64), (64, 64), (2, 100), (64, 10), (32, 9), (64,), (3,)])
def test_independent_draws_are_never_refused(draw, size):
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        entries = draw(*size, generator=generator)
        assert spread(entries, "test") == pytest.approx(entries.square().mean().sqrt().item(), rel=1e-5)


def test_a_few_equal_entries_are_no_draws():
    with pytest.raises(DataError, match=r"test: .* found entries that all equal 0\.1"):
        spread(torch.full((5,), 0.1), "test")
