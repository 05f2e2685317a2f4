"""Pairs of jointly Gaussian pre-activations: what an activation's expectations are taken over."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

SNAP = 32 * torch.finfo(torch.float64).eps  # what rounding leaves of 1 − ρ for an example with itself


@dataclass(frozen=True)
class GaussianPair:
    """(u, v) with mean zero, variances q₁, q₂ ≥ 0 and covariance k, for many pairs at once.

    Args:
        q1: variances of u, of a shape that broadcasts with ``k``.
        q2: variances of v, likewise.
        k: covariances.
    """

    q1: Tensor
    q2: Tensor
    k: Tensor

    @cached_property
    def zero(self) -> Tensor:
        """Where u or v is zero for certain, so that no correlation exists."""
        return (self.q1 <= 0) | (self.q2 <= 0)

    @cached_property
    def scale(self) -> Tensor:
        """√(q₁q₂); where that is zero its gradient, infinite, is taken for zero."""
        return root(self.q1) * root(self.q2)

    @cached_property
    def correlation(self) -> Tensor:
        """k/√(q₁q₂), clamped to [−1, 1]; 0 where a variance is zero.

        Within rounding of ±1 it *is* ±1, and without gradient: a correlation is stationary at its extremes, and
        arccos, which is not, has the subgradient 0 there.
        """
        ratio = torch.where(self.zero, 0.0, self.k / torch.where(self.zero, 1.0, self.scale))
        return torch.where(ratio.abs() >= 1 - SNAP, ratio.sign(), ratio)

    def differentiable_at_zero(self, value: Tensor, slope: Tensor) -> Tensor:
        """The value E[φ(u) φ(v)], with its gradient in k, E[φ′(u) φ′(v)], where the correlation carries none.

        Source: Price 1958, "A useful theorem for nonlinear devices having Gaussian inputs".
        """
        if not self.k.requires_grad:
            return value
        return value + torch.where(self.zero, (self.k - self.k.detach()) * slope.detach(), 0.0)


def root(q: Tensor) -> Tensor:
    """√q, with gradient 0 where q is 0."""
    positive = q > 0
    return torch.where(positive, torch.where(positive, q, 1.0).sqrt(), 0.0)
