"""The two shapes in which a layer's share of the Jacobian is kept: as outer products, or written out."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outer:
    """A weight matrix's Jacobian as outer products, J[c,n] = Σ_t G[c,n,t,:] ⊗ U[n,t,:], never written out.

    Args:
        inputs: U, (examples N, positions T, a): what the layer saw. A column of ones stands for the bias.
        grads: G, (outputs C, N, T, b): how each logit moves with what the layer gave.
    """

    inputs: Tensor
    grads: Tensor

    @property
    def is_readout(self) -> bool:
        """Whether the layer's output *is* the logits, so that G is the identity."""
        c, n = self.grads.shape[:2]
        if self.grads.shape[2:] != (1, c):
            return False
        identity = torch.eye(c, dtype=self.grads.dtype, device=self.grads.device)
        return torch.equal(self.grads[:, :, 0], identity[:, None].expand(c, n, c))

    def written_out(self) -> "Direct":
        """The same Jacobian as (N, C, b · a): one product an example, all outputs together."""
        c, n, t, b = self.grads.shape
        rows = self.grads.permute(1, 0, 3, 2).reshape(n, c * b, t)
        return Direct((rows @ self.inputs).view(n, c, -1))


@dataclass(frozen=True)
class Direct:
    """A Jacobian written out: few parameters, or few examples.

    Args:
        jacobian: (N, C, parameters).
    """

    jacobian: Tensor


Group = Outer | Direct


def squared_norms(group: Group) -> Tensor:
    """‖J[n,c]‖² of a group by example and output: (N, C)."""
    if isinstance(group, Outer) and group.inputs.shape[1] == 1:
        return (group.grads.square().sum((2, 3)) * group.inputs.square().sum((1, 2))).T
    return (group.written_out() if isinstance(group, Outer) else group).jacobian.square().sum(2)
