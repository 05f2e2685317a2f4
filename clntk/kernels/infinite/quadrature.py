"""Expectations of any scalar activation over Gaussian pairs, by Gauss-Hermite quadrature."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from clntk.errors import DataError
from clntk.kernels.infinite.activations import Activation
from clntk.kernels.infinite.gaussian import GaussianPair, root

NODES = 2048
TERMS = 1024  # at most
FARTHEST = 1e-25  # root of the smallest weight of a node that is kept
CONVERGED = 1e-13  # how much of a second moment the terms that are left out may make up
TOLERATED = 1e-7  # relative error beyond which a user is warned

Scalar = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Quadrature(Activation):
    """Any scalar function φ: E[φ(u) φ(v)] = Σ_j a_j(q₁) a_j(q₂) ρʲ, over its Hermite coefficients a_j.

    a_j(q) = E[φ(√q z) h_j(z)], with h_j the normalised Hermite polynomials, is a Gauss-Hermite quadrature in one
    dimension; the series is then one sum over j a pair of examples, where a grid in two dimensions needs nodes². It is
    smooth in ρ, so that no gradient is lost at ±1. It ends where Σ a_j² has reached E[φ²]; by Schwarz's inequality what
    is missing then bounds the error at every ρ. Analytic functions converge exponentially, the slower the larger the
    variance; for a function with a kink the error falls as a power of the terms. A warning gives it where it exceeds
    1e-7 of the kernel.

    Args:
        function: φ, of a tensor of any shape, each entry alone.
        derivative: φ′; by default by automatic differentiation.
        nodes: number of nodes.
        terms: largest number of terms.

    Source: Abramowitz & Stegun 1964, 25.4.46 (nodes); Mehler 1866 (series); Daniely et al. 2016, arXiv 1602.05897,
    section 4 (dual activation).
    """

    function: Scalar
    derivative: Scalar | None = None
    nodes: int = NODES
    terms: int = TERMS

    @classmethod
    def checked(cls, function: Scalar, where: str) -> "Quadrature":
        """
        Raises:
            DataError: if the function is not of each entry alone.
        """
        reason = _not_scalar(function)
        if reason:
            raise DataError(
                f"{where}: expected an activation that acts on each entry alone, found {name_of(function)}, {reason}; "
                "it has no infinite-width form"
            )
        return cls(function)

    def dual(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        self._check_nodes(torch.maximum(pair.q1.detach().max(), pair.q2.detach().max()))
        both = [self._on_nodes(q) for q in (pair.q1, pair.q2)]
        value, slope = (
            self._series(left, right, pair.correlation) for left, right in zip(*both, strict=True)
        )
        return pair.differentiable_at_zero(value, slope), slope

    def _on_nodes(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """φ(√q z) and φ′(√q z) on the nodes z, (*q.shape, nodes).

        Raises:
            DataError: if they are not finite.
        """
        z = hermite(self.nodes, self.terms)[0].to(q.device) * root(q)[..., None]
        found = (
            self._differentiated(z)
            if self.derivative is None
            else (self.function(z.clone()), self.derivative(z))
        )
        if not all(f.isfinite().all() for f in found):
            raise DataError(
                f"activation {name_of(self.function)}: expected finite values and slopes at the nodes of the "
                f"quadrature, found others between {z.min():.3g} and {z.max():.3g}; it grows too fast, or needs a "
                "derivative"
            )
        return found

    def _differentiated(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """
        Raises:
            DataError: if torch cannot differentiate the function.
        """
        follow = z.requires_grad
        # kept as it is where blocks are recomputed for their gradients, or each derivative here would recompute one
        with torch.enable_grad(), saved_tensors_hooks(_kept, _kept):
            at = z if follow else z.detach().requires_grad_()
            value = self.function(at.clone())  # a clone, for modules that work in place
            if not value.requires_grad:
                raise DataError(
                    f"activation {name_of(self.function)}: expected a function that torch can differentiate, found one "
                    "whose values carry no gradient; take Quadrature(function, derivative)"
                )
            (slope,) = torch.autograd.grad(value.sum(), at, create_graph=follow)
        return (value, slope) if follow else (value.detach(), slope)

    def _series(self, left: Tensor, right: Tensor, rho: Tensor) -> Tensor:
        """Σ_j a_j b_j ρʲ of values on the nodes, by Horner's rule."""
        transform = hermite(self.nodes, self.terms)[1].to(rho.device)
        terms = self._terms(left, right, transform)
        # taken apart at once: the gradient of an index is an array of the size of all terms
        pairs = zip(*((f @ transform[:terms].T).unbind(-1) for f in (left, right)), strict=True)
        total = torch.zeros_like(rho)
        for a, b in reversed(list(pairs)):
            total = torch.addcmul(a * b, total, rho)
        return total

    @torch.no_grad()
    def _terms(self, left: Tensor, right: Tensor, transform: Tensor) -> int:
        """As many terms as leave out a negligible part of the second moments."""
        worst = left.new_zeros(())
        for f in (left, right):
            moments = (f**2 @ transform[0])[..., None]  # h₀ = 1
            rest = 1 - (f @ transform.T).square().cumsum(-1) / moments
            rest = torch.where(moments > 0, rest, 0.0)
            worst = torch.maximum(worst, rest.flatten(0, -2).amax(0))
        enough = (worst <= CONVERGED).nonzero()
        if len(enough):
            return int(enough[0]) + 1
        self._warn(worst.min().item(), f"the first {self.terms} terms of the Hermite series")
        return self.terms

    @torch.no_grad()
    def _check_nodes(self, q: Tensor) -> None:
        """Say so where half as many nodes give other second moments at the largest variance."""
        found = []
        for nodes in (self.nodes // 2, self.nodes):
            weights = hermite(nodes, self.terms)[1][0].to(q.device)
            found.append(torch.stack([f**2 @ weights for f in replace(self, nodes=nodes)._on_nodes(q)]))
        half, whole = found
        error = ((whole - half).abs() / whole.clamp_min(torch.finfo(q.dtype).tiny)).max().item()
        self._warn(error, f"{self.nodes} nodes of the Gauss-Hermite quadrature")

    def _warn(self, error: float, what: str) -> None:
        if error > TOLERATED:
            warnings.warn(
                f"activation {name_of(self.function)}: {what} leave a relative error of the order of {error:.0e}; take "
                "Quadrature(function, nodes=…, terms=…) with more, or smaller sigma_w",
                stacklevel=2,
            )


def _kept(saved: Tensor) -> Tensor:
    return saved


@lru_cache
def hermite(count: int, terms: int) -> tuple[Tensor, Tensor]:
    """Nodes for the standard normal, and the matrix (term, node) that turns values there into coefficients.

    Nodes so far out that their weight is lost to rounding are left out.
    """
    from scipy.special import roots_hermitenorm

    nodes, weights, total = (
        torch.as_tensor(a, dtype=torch.float64) for a in roots_hermitenorm(count, mu=True)
    )
    share = (weights / total).sqrt()
    nodes, share = nodes[share > FARTHEST], share[share > FARTHEST]
    rows = [share, nodes * share]
    for j in range(1, terms - 1):
        rows.append((nodes * rows[j] - j**0.5 * rows[j - 1]) / (j + 1) ** 0.5)
    return nodes, torch.stack(rows[:terms]) * share


def _not_scalar(function: Scalar) -> str:
    """Why a function is not one of each entry alone; empty if it is."""
    z = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(2, 3)
    try:
        whole = function(z.clone())
        if not isinstance(whole, Tensor) or whole.shape != z.shape:
            found = tuple(whole.shape) if isinstance(whole, Tensor) else type(whole).__name__
            return f"which turns a tensor of shape (2, 3) into {found}"
        alone = [function(entry.clone().reshape(1, 1)).reshape(()) for entry in z.flatten()]
    except Exception as error:
        return f"which fails on a tensor of shape (2, 3) or (1, 1) with {type(error).__name__}: {error}"
    if not torch.allclose(whole.flatten(), torch.stack(alone), rtol=1e-9, atol=1e-12):
        return "which makes one entry depend on the others, or on chance"
    return ""


def name_of(function: Scalar) -> str:
    if isinstance(function, nn.Module):
        return repr(function)
    return getattr(function, "__name__", repr(function))
