"""The two shapes in which a layer's share of the Jacobian is kept: as outer products, or written out."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from clntk.kernels.allocate import empty


@dataclass(frozen=True)
class Outer:
    """A weight matrix's Jacobian as outer products, J[c,n] = Σ_t G[c][n,t,:] ⊗ U[n,t,:], never written out.

    Args:
        inputs: U, (examples N, positions T, a): what the layer saw. A column of ones stands for the bias.
        grads: G, for each of C outputs (N, T, b): how the logit moves with what the layer gave. A tuple, because the
            backward passes give them one by one, and copying them together is as dear as many a contraction.
        readout: the weight matrix (C, b) of a linear read-out that may be all that tells the outputs apart, as
            G[c][n,t,j] = W[c,j] Φ[n,t,j]; see :mod:`clntk.kernels.separable`.
    """

    inputs: Tensor
    grads: tuple[Tensor, ...]
    readout: Tensor | None = None

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Outputs C, examples N, positions T, inputs a, and outputs b of the layer."""
        return len(self.grads), *self.inputs.shape, self.grads[0].shape[2]

    @cached_property
    def is_readout(self) -> bool:
        """Whether the layer's output *is* the logits, so that G is the identity."""
        c, n, t, _, b = self.sizes
        if (t, b) != (1, c):
            return False
        identity = torch.eye(c, dtype=self.inputs.dtype, device=self.inputs.device)
        return all(
            torch.equal(g[:, 0], row.expand(n, c)) for g, row in zip(self.grads, identity, strict=True)
        )

    def stacked(self) -> Tensor:
        """G in one piece: (C, N, T, b)."""
        c, n, t, _, b = self.sizes
        return torch.stack(self.grads, out=empty((c, n, t, b), self.inputs))

    def write(self, rows: slice, columns: slice, out: Tensor) -> Tensor:
        """Write out the Jacobian of a rectangle of the weights into a buffer.

        Args:
            rows, columns: of the b × a weight matrix.
            out: of at least C · N · rows · columns numbers.

        Returns:
            (C, N, rows · columns), a view of the buffer.
        """
        c, n, _, a, b = self.sizes
        shape = (c, n, len(range(b)[rows]), len(range(a)[columns]))
        block = out[: shape[0] * shape[1] * shape[2] * shape[3]].view(shape)
        inputs = self.inputs[:, :, columns]
        for one, g in zip(block, self.grads, strict=True):
            torch.bmm(g[:, :, rows].transpose(1, 2), inputs, out=one)
        return block.flatten(2)

    def written_out(self) -> "Direct":
        """The same Jacobian as a whole."""
        c, n, _, a, b = self.sizes
        return Direct(self.write(slice(b), slice(a), empty((c * n * b * a,), self.inputs)))


@dataclass(frozen=True)
class Direct:
    """A Jacobian written out: few parameters, or few examples.

    Args:
        jacobian: (C, N, parameters).
    """

    jacobian: Tensor


Group = Outer | Direct


def squared_norms(group: Group) -> Tensor:
    """‖J[c,n]‖² of a group by example and output: (N, C)."""
    if isinstance(group, Direct):
        return group.jacobian.square().sum(2).T
    _, _, t, a, b = group.sizes
    if t == 1:
        inputs = group.inputs.square().sum((1, 2))
        return torch.stack([g.square().sum((1, 2)) * inputs for g in group.grads], dim=1)
    if t * t < a * b:
        gram = group.inputs @ group.inputs.transpose(1, 2)
        return torch.stack([((g @ g.transpose(1, 2)) * gram).sum((1, 2)) for g in group.grads], dim=1)
    one_by_one = [
        Outer(group.inputs[n, None], tuple(g[n, None] for g in group.grads)) for n in range(len(group.inputs))
    ]
    return torch.cat([squared_norms(one.written_out()) for one in one_by_one])


def outputs_and_examples(group: Group) -> tuple[int, int]:
    if isinstance(group, Outer):
        return group.sizes[:2]
    c, n = group.jacobian.shape[:2]
    return c, n
