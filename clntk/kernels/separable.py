"""Layers of which only the read-out tells the outputs apart: the square of the outputs leaves the large product.

Below a linear read-out that every unit reaches on its own (a last hidden layer, or channels pooled over positions),
G[c][n,t,j] = W[c,j] Φ[n,t,j]. Whether that holds is seen in the numbers themselves, every time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from clntk.kernels.groups import Outer

TOLERANCE = 32  # in rounding errors of the largest gradient


@dataclass(frozen=True)
class Separable:
    """Inputs U (N, T, a), what the outputs share Φ (N, T, b), and the read-out W (C, b)."""

    inputs: Tensor
    shared: Tensor
    readout: Tensor

    def as_one_output(self) -> Outer:
        """A group of one output with the same trace kernel: Σ_c W[c,j]² goes into Φ."""
        return Outer(self.inputs, (self.shared * self.readout.square().sum(0).sqrt(),))


def parts(group: Outer) -> Separable | None:
    """The factors, or None if the gradients are not of that form up to rounding."""
    weight = group.readout
    if weight is None or weight.shape != (len(group.grads), group.grads[0].shape[2]):
        return None
    squares = weight.square().sum(0)
    fit = weight / squares.where(squares > 0, 1)
    shared = torch.zeros_like(group.grads[0])
    for g, row in zip(group.grads, fit, strict=True):
        shared.addcmul_(g, row)
    largest = torch.stack([g.abs().amax() for g in group.grads]).amax()
    off = torch.stack(
        [(shared * row).sub_(g).abs_().amax() for g, row in zip(group.grads, weight, strict=True)]
    )
    exact = off.amax() <= TOLERANCE * torch.finfo(shared.dtype).eps * largest
    return Separable(group.inputs, shared, weight) if exact else None


def add_full(kernel: Tensor, left: Separable, right: Separable, block_bytes: int) -> None:
    """Add Σ_j W[c,j] W[d,j] ⟨V_n[j], V_m[j]⟩ with V_n = Φ_nᵀ U_n to a kernel (C, N, C, M), in place."""
    c, n, _, m = kernel.shape
    b, a = left.shared.shape[2], left.inputs.shape[2]
    item = kernel.element_size()
    height = max(1, min(b, block_bytes // (max(n, m) * a * item)))
    step = max(1, min(n, block_bytes // (max(height, c * c) * m * item)))
    for top in range(0, b, height):
        units = slice(top, top + height)
        v = _moved(left, units)
        w = v if right is left else _moved(right, units)
        pairs = (left.readout[:, None, units] * right.readout[None, :, units]).flatten(0, 1)  # (C · C, units)
        for start in range(0, n, step):
            rows = slice(start, start + step)
            inner = v[:, rows] @ w.transpose(1, 2)  # (units, rows, M)
            share = (pairs @ inner.flatten(1)).view(c, c, -1, m)
            kernel[:, rows].add_(share.permute(0, 2, 1, 3))


def _moved(side: Separable, units: slice) -> Tensor:
    """V by unit: (units, N, a)."""
    return (side.shared[:, :, units].transpose(1, 2) @ side.inputs).transpose(0, 1)
