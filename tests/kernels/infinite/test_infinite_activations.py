"""Expectations over Gaussian pairs: hand-computed values, independent integration, two ways against each other."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn
from torch.nn import functional

from clntk.errors import DataError
from clntk.kernels.infinite.activations import GELU, NAMED, Erf, LeakyReLU, activation_of
from clntk.kernels.infinite.gaussian import GaussianPair
from clntk.kernels.infinite.quadrature import Quadrature

PAIRS = [
    (1.0, 1.0, 0.3),
    (0.7, 2.5, -1.1),
    (0.2, 0.4, 0.28),
    (2.0, 0.5, 0.0),
    (1.5, 1.5, 1.5),
    (0.5, 2.0, -1.0),
]


def pair(q1, q2, k):
    return GaussianPair(*(torch.tensor([float(v)], dtype=torch.float64) for v in (q1, q2, k)))


@pytest.mark.parametrize(
    ("degrees", "value", "slope"),
    [
        (0, 1 / 2, 1 / 2),
        (60, (math.sqrt(3) / 2 + 2 * math.pi / 3 / 2) / (2 * math.pi), 1 / 3),
        (90, 1 / (2 * math.pi), 1 / 4),
        (180, 0.0, 0.0),
    ],
)
def test_relu_has_the_arc_cosine_kernels_of_cho_and_saul(degrees, value, slope):
    """J₁ = sin θ + (π − θ) cos θ and J₀ = π − θ, over 2π, times the norms: here 2 and 3."""
    found = LeakyReLU().dual(pair(4, 9, 6 * math.cos(math.radians(degrees))))
    assert found[0].item() == pytest.approx(6 * value, abs=1e-14)
    assert found[1].item() == pytest.approx(slope, abs=1e-14)


def test_the_derivative_at_zero_is_that_of_torch():
    """a, where a pre-activation is zero for certain; the other's derivative is 1 or a, each half the time."""
    for a in (0.0, 0.2):
        assert LeakyReLU(a).dual(pair(0, 2, 0))[1].item() == pytest.approx(a * (1 + a) / 2)
        assert LeakyReLU(a).dual(pair(0, 0, 0))[1].item() == pytest.approx(a * a)


def density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def by_integration(function, q1, q2, k):
    """E[φ(u) φ(v)] by scipy, with v given u written out: u = √q₁ x, v = (k/√q₁) x + √(q₂ − k²/q₁) y."""
    on, rest = k / math.sqrt(q1), math.sqrt(max(q2 - k * k / q1, 0))

    def inner(x):
        def of_y(y):
            return function(on * x + rest * y) * density(y)

        if rest == 0:
            mean = function(on * x)
        else:  # broken where the argument changes sign
            at = min(max(-on * x / rest, -10), 10)
            mean = sum(integrate.quad(of_y, *ends, epsabs=1e-13)[0] for ends in ((-10, at), (at, 10)))
        return function(math.sqrt(q1) * x) * mean * density(x)

    return sum(integrate.quad(inner, *ends, epsabs=1e-12)[0] for ends in ((-10, 0), (0, 10)))


CASES = {
    "leaky_relu": (lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01),
    "erf": (math.erf, lambda z: 2 / math.sqrt(math.pi) * math.exp(-z * z)),
    "gelu": (
        lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
        lambda z: (1 + math.erf(z / math.sqrt(2))) / 2 + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    ),
    "tanh": (math.tanh, lambda z: 1 / math.cosh(z) ** 2),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at", [(0.7, 1.5, -0.6), (1.3, 0.5, 0.7)])
def test_expectations_are_the_integrals(name, at):
    found = activation_of(name, "test").dual(pair(*at))
    for value, function in zip(found, CASES[name], strict=True):
        assert value.item() == pytest.approx(by_integration(function, *at), abs=1e-9)


@pytest.mark.parametrize(
    ("closed", "function"),
    [(Erf(), torch.erf), (GELU(), functional.gelu), (LeakyReLU(1.0), lambda z: 1.0 * z)],
)
@pytest.mark.parametrize("at", [*PAIRS, (9.0, 6.0, 7.0), (9.0, 0.0, 0.0)])
def test_quadrature_agrees_with_closed_forms(closed, function, at):
    for exact, found in zip(closed.dual(pair(*at)), Quadrature(function).dual(pair(*at)), strict=True):
        assert found.item() == pytest.approx(exact.item(), abs=1e-10)


def on_a_grid(function, q1, q2, k, count=120):
    """E[φ(u) φ(v)] by Gauss-Hermite quadrature in two dimensions, through the Cholesky factor."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    w = w / w.sum()
    u = np.sqrt(q1) * x[:, None]
    v = k / np.sqrt(q1) * x[:, None] + np.sqrt(max(q2 - k**2 / q1, 0)) * x[None]
    f = [function(torch.as_tensor(z)).numpy() for z in (u, v)]
    return float(w @ (f[0] * f[1]) @ w)


@pytest.mark.parametrize("function", [torch.sigmoid, functional.softplus, nn.GELU("tanh"), torch.sin])
@pytest.mark.parametrize("at", PAIRS)
def test_quadrature_agrees_with_a_grid_in_two_dimensions(function, at):
    at = tuple(v / 4 for v in at)  # where the grid itself has converged
    value, _ = Quadrature(function).dual(pair(*at))
    assert value.item() == pytest.approx(on_a_grid(function, *at), abs=1e-9)


def test_a_given_derivative_is_used():
    _, slope = Quadrature(torch.tanh, derivative=lambda z: 2 / torch.cosh(z) ** 2).dual(pair(*PAIRS[0]))
    assert slope.item() == pytest.approx(
        4 * Quadrature(torch.tanh).dual(pair(*PAIRS[0]))[1].item(), rel=1e-12
    )


def test_an_inaccurate_quadrature_says_so():
    with pytest.warns(UserWarning, match=r"activation relu: .* leave a relative error"):
        value, _ = Quadrature(torch.relu).dual(pair(1, 1, 0.5))
    assert value.item() == pytest.approx(LeakyReLU().dual(pair(1, 1, 0.5))[0].item(), abs=1e-4)
    with pytest.warns(UserWarning, match="64 nodes of the Gauss-Hermite quadrature"):
        Quadrature(torch.tanh, nodes=64).dual(pair(9, 9, 1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (nn.ReLU(inplace=True), LeakyReLU()),
        (nn.LeakyReLU(0.2), LeakyReLU(0.2)),
        (nn.GELU(), GELU()),
        (torch.erf, Erf()),
        (Erf(), Erf()),
        ("identity", LeakyReLU(1.0)),
    ],
)
def test_closed_forms_are_taken_where_they_exist(given, expected):
    assert activation_of(given, "test") == expected


@pytest.mark.parametrize("given", [nn.GELU("tanh"), nn.ELU(inplace=True), torch.tanh, *NAMED])
def test_every_other_scalar_function_is_accepted(given):
    activation_of(given, "test")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("rleu", r"found 'rleu'; did you mean 'relu'\?"),
        (nn.Softmax(dim=-1), "found Softmax.*makes one entry depend on the others"),
        (nn.Dropout(0.5), "on chance"),
        (nn.Flatten(0), r"turns a tensor of shape \(2, 3\) into \(6,\)"),
        (nn.LayerNorm(4), "fails on a tensor"),
        (lambda z: z.flip(-1), "depend on the others"),
        (lambda z: z.tolist(), "into list"),
    ],
)
def test_functions_that_are_not_scalar_are_refused(given, reason):
    torch.manual_seed(0)
    with pytest.raises(DataError, match=reason):
        activation_of(given, "test.activation")


@pytest.mark.parametrize("derivative", [None, lambda z: torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))])
def test_a_module_that_works_in_place_is_that_which_does_not(derivative):
    in_place, plain = (
        Quadrature(function, derivative).dual(pair(*PAIRS[0]))
        for function in (nn.SiLU(inplace=True), nn.SiLU())
    )
    assert in_place == plain


def test_functions_without_a_derivative_are_refused_unless_it_is_given():
    def of_numpy(z):
        return torch.as_tensor(np.tanh(z.detach().numpy()))

    with pytest.raises(DataError, match="of_numpy: expected a function that torch can differentiate"):
        Quadrature(of_numpy).dual(pair(*PAIRS[0]))
    found = Quadrature(of_numpy, derivative=lambda z: 1 - torch.tanh(z) ** 2).dual(pair(*PAIRS[0]))
    for one, other in zip(found, Quadrature(torch.tanh).dual(pair(*PAIRS[0])), strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_functions_that_grow_too_fast_are_refused():
    with pytest.raises(DataError, match="it grows too fast"):
        Quadrature(lambda z: torch.exp(z**4)).dual(pair(1, 1, 0))
