"""The kernels of infinite width: by hand, through their derivatives, and what must not change them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import clntk
from clntk import InfiniteSpec
from clntk.errors import DataError
from clntk.kernels.infinite.layers import Convolution, Dense, Flatten, MeanPool, Nonlinearity, Weights

KERNELS = [clntk.infinite_nngp, clntk.infinite_ntk]
kernels = pytest.mark.parametrize("kernel", KERNELS, ids=["nngp", "ntk"])


def inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, tolerance=1e-12):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


# --- by hand ----------------------------------------------------------------------------------------------


def test_two_orthogonal_inputs_through_two_hidden_layers():
    """σ_w² = 2, no biases, norms √d: K₀ = 2 [1, 0], then 2 J₁/2π at 90° = 2/π · …, written out."""
    x = math.sqrt(2) * torch.eye(2, dtype=torch.float64)
    spec = InfiniteSpec.fully_connected(depth=2)
    first = 2 / math.pi  # = 2 · 2 · 1/(2π): E[φφ] = q/(2π) at a right angle, q = 2
    theta = math.acos(first / 2)
    second = 2 * (math.sin(theta) + (math.pi - theta) * math.cos(theta)) / math.pi
    tangent = first + 2 * 0 * (1 / 4)
    tangent = second + 2 * tangent * (math.pi - theta) / (2 * math.pi)
    assert clntk.infinite_nngp(spec, x)[0, 1].item() == pytest.approx(second, abs=1e-14)
    assert clntk.infinite_ntk(spec, x)[0, 1].item() == pytest.approx(tangent, abs=1e-14)
    assert clntk.infinite_nngp(spec, x).diagonal().tolist() == pytest.approx([2, 2], abs=1e-14)
    assert clntk.infinite_ntk(spec, x).diagonal().tolist() == pytest.approx([6, 6], abs=1e-14)


def test_a_linear_network_has_polynomial_kernels():
    x1, x2 = inputs(4, 3), inputs(5, 3, seed=1)
    spec = InfiniteSpec.fully_connected(
        depth=2, activation="identity", sigma_w=[2, 3, 0.5], sigma_b=[0.1, 0.2, 0.3]
    )
    k = x1 @ x2.T / 3
    one = 4 * k + 0.01
    two = 9 * one + 0.04
    three = 0.25 * two + 0.09
    assert close(clntk.infinite_nngp(spec, x1, x2), three)
    assert close(clntk.infinite_ntk(spec, x1, x2), three + 0.25 * (two + 9 * one))


@kernels
def test_without_hidden_layers_it_is_linear_regression(kernel):
    x = inputs(4, 3)
    spec = InfiniteSpec.fully_connected(depth=0, sigma_w=1.5, sigma_b=0.5)
    assert close(kernel(spec, x), 2.25 / 3 * x @ x.T + 0.25)


def brute_force(x1, x2, *, kernel, stride, pad, pooling):
    """One ReLU convolution with σ_w = 1.2, σ_b = .3, then a read-out with σ_w = .9: all pairs of patches by loops."""

    def patches(x):
        padded = nn.functional.pad(x, (pad,) * 4)
        rows, columns = ((s - kernel) // stride + 1 for s in padded.shape[1:])
        corners = [(stride * i, stride * j) for i in range(rows) for j in range(columns)]
        return [padded[:, i : i + kernel, j : j + kernel].flatten() for i, j in corners]

    total = torch.zeros(2, dtype=torch.float64)
    left, right = patches(x1), patches(x2)
    where = [(p, q) for p in range(len(left)) for q in range(len(right)) if pooling == "mean" or p == q]
    for p, q in where:
        a, b = left[p], right[q]
        k, q1, q2 = (1.44 * (c @ d) / len(a) + 0.09 for c, d in ((a, b), (a, a), (b, b)))
        theta = torch.arccos((k / (q1 * q2).sqrt()).clamp(-1, 1))
        value = (q1 * q2).sqrt() * (theta.sin() + (math.pi - theta) * theta.cos()) / (2 * math.pi)
        total += torch.stack([value, value + k * (math.pi - theta) / (2 * math.pi)])
    return 0.81 * total / len(where)


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 1), (2, 2, 0), (3, 2, 1)])
def test_a_convolution_is_the_sum_over_its_patches(pooling, kernel, stride, pad):
    x1, x2 = inputs(2, 2, 5, 4), inputs(2, 2, 5, 4, seed=1)
    spec = InfiniteSpec.convolutional(
        depth=1,
        kernel=kernel,
        stride=stride,
        padding="same" if pad else "valid",
        pooling=pooling,
        sigma_w=[1.2, 0.9],
        sigma_b=[0.3, 0.0],
    )
    found = [f(spec, x1, x2) for f in KERNELS]
    for n in range(2):
        for m in range(2):
            expected = brute_force(x1[n], x2[m], kernel=kernel, stride=stride, pad=pad, pooling=pooling)
            assert found[0][n, m].item() == pytest.approx(expected[0].item(), rel=1e-12)
            assert found[1][n, m].item() == pytest.approx(expected[1].item(), rel=1e-12)


@kernels
def test_an_image_of_one_pixel_is_a_vector(kernel):
    x = inputs(4, 3)
    options = {"sigma_w": [1.2, 1.4, 0.9], "sigma_b": 0.3, "activation": "erf"}
    flat = kernel(InfiniteSpec.fully_connected(**options), x)
    for pooling in ("mean", "flatten"):
        spec = InfiniteSpec.convolutional(kernel=1, pooling=pooling, **options)
        assert close(kernel(spec, x[:, :, None, None]), flat)


@kernels
def test_layers_after_a_mean_over_positions_see_its_variance(kernel):
    """Pooled features of constant images, without padding, are those of one pixel; a hidden layer follows."""
    x = inputs(3, 2)
    weights, relu = (
        Weights.ntk(1.3, 0.2),
        Nonlinearity(InfiniteSpec.fully_connected(depth=1).layers[2].activation),
    )
    head = (Dense(weights), relu, Dense(weights))
    pooled = InfiniteSpec((Convolution(weights, (1, 1)), relu, MeanPool(), *head))
    flat = InfiniteSpec((Dense(weights), relu, *head))
    constant = x[:, :, None, None].expand(3, 2, 4, 3)
    assert close(kernel(pooled, constant), kernel(flat, x))
    varied = kernel(pooled, inputs(3, 2, 4, 3))
    assert torch.linalg.eigvalsh(varied).min() > 0


def test_standard_parametrisation_counts_fan_in():
    """With one hidden layer, Θ = (d · share of the first weights + its biases) · σ² Σ̇ + n · E[φφ] + 1."""
    x, sigma = inputs(4, 3), 1.4
    spec = InfiniteSpec.fully_connected(
        depth=1, sigma_w=sigma, sigma_b=0.0, parametrization="standard", width=50, inputs=3
    )
    relu = spec.layers[2].activation
    k = sigma**2 * x @ x.T / 3
    from clntk.kernels.infinite.gaussian import GaussianPair

    value, slope = relu.dual(GaussianPair(k.diagonal()[:, None], k.diagonal()[None], k))
    assert close(clntk.infinite_ntk(spec, x), (x @ x.T + 1) * sigma**2 * slope + 50 * value + 1, 1e-7)
    assert close(clntk.infinite_nngp(spec, x), sigma**2 * value)
    bare = InfiniteSpec.fully_connected(
        depth=1, sigma_w=sigma, parametrization="standard", width=50, inputs=3
    )
    assert close(clntk.infinite_ntk(bare, x), x @ x.T * sigma**2 * slope + 50 * value, 1e-7)


# --- numerics ---------------------------------------------------------------------------------------------


def awkward():
    """With a zero input, two equal, two opposite and two parallel ones."""
    x = inputs(7, 4)
    x[0], x[2], x[4], x[6] = 0, x[1], -3 * x[3], 2 * x[5]
    return x


SPECS = {
    name: InfiniteSpec.fully_connected(depth=2, activation=name, sigma_w=w, sigma_b=b)
    for name, w, b in (
        ("relu", 1.2, None),
        ("leaky_relu", 1.2, 0.1),
        ("erf", 1.2, None),
        ("gelu", 1.2, None),
        ("tanh", 0.4, None),
    )
}


@kernels
@pytest.mark.parametrize("name", SPECS)
def test_kernels_are_symmetric_to_the_bit_and_positive(kernel, name):
    x = awkward()
    found = kernel(SPECS[name], x)
    assert torch.equal(found, found.T)
    assert torch.equal(kernel(SPECS[name], x, block_bytes=1), kernel(SPECS[name], x, block_bytes=1).T)
    assert torch.linalg.eigvalsh(found).min() >= -1e-12 * found.diagonal().max()


@kernels
@pytest.mark.parametrize("name", SPECS)
def test_blocks_and_a_second_side_change_nothing(kernel, name):
    x = awkward()
    found = kernel(SPECS[name], x)
    for other in (kernel(SPECS[name], x, x), kernel(SPECS[name], x, block_bytes=8 * 12 * 9)):
        assert close(other, found)


@kernels
@pytest.mark.parametrize("pooling", ["mean", "flatten"])
def test_blocks_of_images_change_nothing(kernel, pooling):
    x, spec = inputs(5, 2, 4, 4), InfiniteSpec.convolutional(pooling=pooling)
    assert close(kernel(spec, x, block_bytes=1), kernel(spec, x))


@kernels
def test_single_precision_is_computed_in_double(kernel):
    x = inputs(3, 4).float()
    assert kernel(SPECS["relu"], x).dtype == torch.float64
    assert torch.equal(kernel(SPECS["relu"], x), kernel(SPECS["relu"], x.double()))


@kernels
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "erf", "gelu", "tanh"])
def test_derivatives_are_finite_differences(kernel, name):
    x1, x2 = inputs(3, 3).requires_grad_(), inputs(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: kernel(SPECS[name], a, b), (x1, x2), atol=1e-6)


@kernels
@pytest.mark.parametrize("pooling", ["mean", "flatten"])
def test_derivatives_of_convolutional_kernels_are_finite_differences(kernel, pooling):
    x1, x2 = inputs(1, 1, 3, 3).requires_grad_(), inputs(2, 1, 3, 3, seed=1)
    spec = InfiniteSpec.convolutional(pooling=pooling, sigma_b=0.1)
    assert torch.autograd.gradcheck(lambda a: kernel(spec, a, x2, block_bytes=1), (x1,), atol=1e-6)


@kernels
@pytest.mark.parametrize("name", ["erf", "gelu", "tanh"])
def test_derivatives_at_zero_and_between_equal_inputs_are_right_where_the_kernel_is_smooth(kernel, name):
    x = inputs(3, 3)
    x[0] = 0
    if (
        kernel is clntk.infinite_nngp
    ):  # the NTK has second derivatives of φ there, which the zero input does not show
        assert torch.autograd.gradcheck(
            lambda a: kernel(SPECS[name], a, x), (x.clone().requires_grad_(),), atol=1e-6
        )
    own = x[1:].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: kernel(SPECS[name], a), (own,), atol=1e-6)


@kernels
@pytest.mark.parametrize("name", SPECS)
def test_gradients_are_finite_everywhere(kernel, name):
    x = awkward().requires_grad_()
    kernel(SPECS[name], x).sum().backward()
    assert x.grad.isfinite().all()


def test_gradients_evaluate_an_activation_no_more_often_than_they_must():
    """Once with the block, once when it is recomputed: not again for each derivative within."""
    calls = []

    def counted(z):
        calls.append(1)
        return torch.tanh(z)

    spec, x = InfiniteSpec.fully_connected(depth=2, activation=counted, sigma_w=0.5), inputs(3, 3)
    calls.clear()
    clntk.infinite_ntk(spec, x)
    once = len(calls)
    calls.clear()
    clntk.infinite_ntk(spec, x.clone().requires_grad_()).sum().backward()
    assert len(calls) == 2 * once


def test_equal_inputs_have_the_kernel_of_one_input_with_itself():
    """Rounding leaves 1 − ρ of about 1e-16, whose root the NTK of ReLU would show."""
    x = inputs(40, 50)
    spec = InfiniteSpec.fully_connected(depth=4)
    exact = 5 * 2 * x.square().mean(1)
    assert ((clntk.infinite_ntk(spec, x, x).diagonal() / exact) - 1).abs().max() < 1e-13
    assert ((clntk.infinite_ntk(spec, x, 3 * x).diagonal() / (3 * exact)) - 1).abs().max() < 1e-13


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), depth=st.integers(0, 4))
def test_rotations_change_nothing_and_relu_is_homogeneous(seed, scale, depth):
    x = inputs(4, 5, seed=seed)
    turn = torch.linalg.qr(inputs(5, 5, seed=seed + 1)).Q
    for kernel in KERNELS:
        biased = InfiniteSpec.fully_connected(depth=depth, activation="gelu", sigma_b=0.3)
        assert close(kernel(biased, x @ turn, x), kernel(biased, x, x @ turn.T), 1e-10)
        assert close(kernel(biased, x @ turn), kernel(biased, x), 1e-10)
        bare = InfiniteSpec.fully_connected(depth=depth)
        assert close(kernel(bare, scale * x, x), scale * kernel(bare, x, x), 1e-7)


# --- refused ----------------------------------------------------------------------------------------------

FC, CNN = InfiniteSpec.fully_connected(), InfiniteSpec.convolutional()


@pytest.mark.parametrize(
    ("spec", "x1", "x2", "message"),
    [
        (FC, torch.ones(3), None, r"infinite_ntk.x1: expected inputs of shape \(N, features\), found \(3,\)"),
        (
            CNN,
            torch.ones(3, 4),
            None,
            r"expected inputs of shape \(N, channels, height, width\), found \(3, 4\)",
        ),
        (InfiniteSpec(FC.layers[1:]), torch.ones(3, 2, 2), None, r"\(N, features\), found \(3, 2, 2\)"),
        (
            FC,
            torch.ones(3, 4),
            torch.ones(3, 5),
            r"x2: expected examples of the shape of x1's, \(4,\), found \(5,\)",
        ),
        (FC, torch.ones(0, 4), None, "at least one input"),
        (FC, torch.ones(3, 4), torch.full((1, 4), torch.nan), "x2: expected finite inputs, found 4"),
        (FC, torch.ones(3, 4).int(), None, "floating-point tensor, found torch.int32"),
        (FC, [[1.0]], None, "found list"),
        ("relu", torch.ones(3, 4), None, "expected an InfiniteSpec or a module, found str"),
        (
            InfiniteSpec.convolutional(padding="valid"),
            torch.ones(1, 1, 4, 4),
            None,
            r"kernel \(3, 3\).*found 2 × 2",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(spec, x1, x2, message):
    with pytest.raises(DataError, match=message):
        clntk.infinite_ntk(spec, x1, x2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma_w": [1, 2]}, "sigma_w: expected one, or 3, one a layer, found 2"),
        ({"sigma_w": -1}, "sigma_w: expected finite numbers of at least 0, found -1"),
        ({"sigma_b": math.nan}, "sigma_b: expected finite"),
        ({"depth": -1}, "depth: expected at least 0, found -1"),
        ({"activation": ["relu"]}, "activation: expected one, or 2"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"width": 5}, "width: expected none in NTK parametrisation"),
        ({"parametrization": "standard", "width": 5}, "inputs: expected a number in standard"),
        ({"parametrization": "standard", "inputs": 5}, "width: expected a number in standard"),
        (
            {"parametrization": "standard", "inputs": 5, "width": [5, 0]},
            "width: expected at least 1, found 0",
        ),
        ({"parametrization": "mup"}, "parametrization: expected one of ntk, standard, found 'mup'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        InfiniteSpec.fully_connected(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "full"}, "padding: expected one of same, valid"),
        ({"pooling": "max"}, "pooling: expected one of mean, flatten"),
        ({"stride": 0}, "stride: expected at least 1"),
    ],
)
def test_convolutional_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        InfiniteSpec.convolutional(**options)


W = Weights.ntk(1.0, 0.0)
CONV, DENSE, RELU = Convolution(W, (3, 3)), Dense(W), FC.layers[2]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "found no layers"),
        ((DENSE, RELU), "expected a linear read-out"),
        ((RELU, DENSE), r"layer 1 \(Nonlinearity\) acts on the inputs themselves"),
        ((CONV, DENSE), r"layer 2 \(Dense\) needs flat inputs"),
        ((CONV, Flatten(), CONV, DENSE), r"layer 3 \(Convolution\) needs images"),
        ((DENSE, MeanPool(), DENSE), r"layer 2 \(MeanPool\) needs images"),
    ],
)
def test_layers_out_of_order_are_refused(layers, message):
    with pytest.raises(DataError, match=message):
        InfiniteSpec(layers)
