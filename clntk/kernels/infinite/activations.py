"""Expectations of activations over Gaussian pre-activations, in closed form where there is one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clntk.errors import DataError, did_you_mean
from clntk.kernels.infinite.gaussian import GaussianPair


class Activation(ABC):
    """A scalar function φ, known by its expectations over Gaussian pairs."""

    @abstractmethod
    def dual(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        """E[φ(u) φ(v)] and E[φ′(u) φ′(v)], of the shape of ``pair.k``."""


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """φ(z) = max(z, 0) + a · min(z, 0): ReLU for a = 0, the identity for a = 1, |z| for a = −1.

    With θ the angle between u and v: E[φφ] = (1−a)²/(2π) √(q₁q₂) (sin θ + (π−θ) cos θ) + a k and
    E[φ′φ′] = (1−a)² (π−θ)/(2π) + a. As torch has it, φ′(0) = a; that shows where a pre-activation is zero for certain.

    Source: Cho & Saul 2009, "Kernel methods for deep learning", eqs. (4)-(6), for ReLU.
    """

    slope: float = 0.0

    def dual(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        a, rho = self.slope, pair.correlation
        inside = rho.abs() < 1
        safe = torch.where(inside, rho, 0.0)  # so that no infinite gradient meets a zero
        sine = torch.where(inside, ((1 - safe) * (1 + safe)).sqrt(), 0.0)
        beyond = torch.where(inside, math.pi - torch.acos(safe), math.pi * (rho > 0).to(rho))  # π − θ
        bend = (1 - a) ** 2 / (2 * math.pi)
        value = bend * pair.scale * (sine + beyond * rho) + a * pair.k
        both = ((pair.q1 <= 0) & (pair.q2 <= 0)).to(rho)  # not numbers, which torch.where holds in float32
        at_zero = a * (both * a + (1 - both) * (1 + a) / 2)
        slope = torch.where(pair.zero, at_zero, bend * beyond + a)
        return pair.differentiable_at_zero(value, slope - a), slope  # a k has its own gradient, a


@dataclass(frozen=True)
class Erf(Activation):
    """φ = erf: E[φφ] = 2/π arcsin(2k/√D) and E[φ′φ′] = 4/π /√(D − 4k²), with D = (1+2q₁)(1+2q₂).

    Source: Williams 1997, "Computing with infinite networks", eq. (11).
    """

    def dual(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        d = (1 + 2 * pair.q1) * (1 + 2 * pair.q2)
        value = 2 / math.pi * torch.asin(2 * pair.k / d.sqrt())
        return value, 4 / math.pi / (d - 4 * pair.k**2).sqrt()


@dataclass(frozen=True)
class GELU(Activation):
    """φ(z) = z Φ(z), with Φ the normal distribution function.

    With Δ = (1+q₁)(1+q₂) − k², D = 1/(2π√Δ), s = 1/(1+q₁) + 1/(1+q₂) and P = E[Φ(u)Φ(v)] =
    ¼ + arcsin(k/√((1+q₁)(1+q₂)))/(2π): E[φφ] = kP + D (q₁q₂ − k² + k² s) and E[φ′φ′] = P + D k (s + 1/Δ), by Stein's
    lemma applied to z Φ(z) until only Gaussian densities are left.

    Source: Tsuchida et al. 2021, arXiv 2002.08517, for the first; both are derived as said.
    """

    def dual(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        k, (a, b) = pair.k, (1 + pair.q1, 1 + pair.q2)
        delta = a * b - k**2
        density, s = 1 / (2 * math.pi * delta.sqrt()), 1 / a + 1 / b
        both = 0.25 + torch.asin(k / (a * b).sqrt()) / (2 * math.pi)
        value = k * both + density * (pair.q1 * pair.q2 - k**2 + k**2 * s)
        return value, both + density * k * (s + 1 / delta)


NAMED: dict[str, Activation | Callable[[Tensor], Tensor]] = {
    "relu": LeakyReLU(),
    "leaky_relu": LeakyReLU(0.01),
    "identity": LeakyReLU(1.0),
    "erf": Erf(),
    "gelu": GELU(),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
}


def activation_of(
    given: "str | Activation | nn.Module | Callable[[Tensor], Tensor]", where: str
) -> Activation:
    """The activation by name, as a module, or as any function of a tensor that acts on each entry alone.

    Raises:
        DataError: for an unknown name, or a function that is not scalar.
    """
    from clntk.kernels.infinite.quadrature import Quadrature

    if isinstance(given, str):
        if given not in NAMED:
            hint = did_you_mean(given, NAMED)
            raise DataError(
                f"{where}: expected {', '.join(NAMED)}, or a function of a tensor, found {given!r}"
                + (f"; {hint}" if hint else "")
            )
        given = NAMED[given]
    if isinstance(given, Activation):
        return given
    if type(given) is nn.ReLU or given in (torch.relu, nn.functional.relu):
        return LeakyReLU()
    if isinstance(given, nn.LeakyReLU) and type(given).forward is nn.LeakyReLU.forward:
        return LeakyReLU(given.negative_slope)
    if (type(given) is nn.GELU and given.approximate == "none") or given is nn.functional.gelu:
        return GELU()
    if given is torch.erf:
        return Erf()
    return Quadrature.checked(given, where)
