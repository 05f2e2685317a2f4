"""What is carried from layer to layer: the covariances of one block of pairs of examples."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from clntk.kernels.infinite.gaussian import GaussianPair

Positions = Literal["none", "same", "pairs"]
_PRODUCTS = {"none": ("nc,mc->nm", "nc,nc->n"), "same": ("nchw,mchw->nmhw", "nchw,nchw->nhw")}
_PRODUCTS["pairs"] = ("nchw,mcij->nmhwij", "nchw,ncij->nhwij")


@dataclass(frozen=True)
class Covariances:
    """Second moments over the units of a layer, and the tangent kernel so far.

    Each array ends in the positions that are kept: none in a fully-connected layer; (H, W), where only the same
    position in both images matters; or (H, W, H′, W′), all pairs of them, which a mean over positions needs.

    Args:
        across: between x1 and x2, (n, m, *positions).
        first: of each of x1 with itself, (n, *positions).
        second: of each of x2 with itself, (m, *positions).
        tangent: the tangent kernel, as ``across``; null where it is not asked for.
    """

    across: Tensor
    first: Tensor
    second: Tensor
    tangent: Tensor | None

    @classmethod
    def of(cls, x1: Tensor, x2: Tensor, positions: Positions, *, tangent: bool) -> "Covariances":
        """Those of inputs (n, features) or (n, channels, H, W): means over features or channels."""
        each, own = _PRODUCTS[positions]
        across = torch.einsum(each, x1, x2) / x1.shape[1]
        first, second = (torch.einsum(own, x, x) / x.shape[1] for x in (x1, x2))
        return cls(across, first, second, torch.zeros_like(across) if tangent else None)

    @property
    def spatial(self) -> int:
        """How many axes of positions there are: 0, 2 or 4."""
        return self.first.ndim - 1

    def each(self, linear: Callable[[Tensor], Tensor]) -> "Covariances":
        """The same linear map of positions on all of them."""
        tangent = None if self.tangent is None else linear(self.tangent)
        return Covariances(linear(self.across), linear(self.first), linear(self.second), tangent)

    def through(self, dual: Callable[[GaussianPair], tuple[Tensor, Tensor]]) -> "Covariances":
        """After an activation, given its expectations E[φφ] and E[φ′φ′]."""
        v1, v2 = self._variances(self.first), self._variances(self.second)
        across, slope = dual(GaussianPair(self._before(v1[:, None]), self._after(v2[None], 2), self.across))
        first, second = (
            dual(GaussianPair(self._before(v), self._after(v, 1), own))[0]
            for v, own in ((v1, self.first), (v2, self.second))
        )
        tangent = None if self.tangent is None else self.tangent * slope
        return replace(self, across=across, first=first, second=second, tangent=tangent)

    def _variances(self, own: Tensor) -> Tensor:
        """Of each example at each position, (n,) or (n, H, W)."""
        if self.spatial < 4:
            return own
        flat = own.flatten(3, 4).flatten(1, 2)
        return flat.diagonal(dim1=1, dim2=2).unflatten(1, own.shape[1:3])

    def _before(self, v: Tensor) -> Tensor:
        """Variances at the first of a pair of positions."""
        return v[..., None, None] if self.spatial == 4 else v

    def _after(self, v: Tensor, examples: int) -> Tensor:
        """Variances at the second of a pair of positions, behind so many axes of examples."""
        return v[(slice(None),) * examples + (None, None)] if self.spatial == 4 else v
