"""Orthonormal directions that steps keep away from: of gradients of logits, as they are or by their principal parts."""

import torch
from torch import Tensor, nn

from clntk.strategies.gradients import example_gradients

NEGLIGIBLE = 1e-5  # of a vector's length: what is left of it beside the basis is rounding
DRAWN = "drawn_gradients"  # the fact of a run that says which gradients its strategy took, phase by phase


def logit_gradients(network: nn.Module, x: Tensor, outputs: Tensor, width: int) -> Tensor:
    """∂f_c(x_n)/∂θ of one logit an example, over the trained parameters: (N, parameters).

    Args:
        network: in the mode in which it is to be differentiated.
        x: N inputs.
        outputs: (N), which logit c of each.
        width: how many logits there are.
    """
    kind = next(network.parameters())
    chosen = torch.zeros(len(x), width, dtype=kind.dtype, device=kind.device)
    chosen[torch.arange(len(x)), outputs] = 1
    return torch.cat(list(example_gradients(network, x, chosen)))


def principal(rows: Tensor, most: int) -> Tensor:
    """The leading right singular vectors, no more than the dimensions that the rows span: those beyond are any."""
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    return directions[:most][sizes[:most] > NEGLIGIBLE * sizes[0]]


def extended(basis: Tensor | None, new: Tensor) -> Tensor:
    """An orthonormal basis of the span of both, the old basis first: (directions, dimensions).

    Args:
        basis: orthonormal rows, or None.
        new: further rows, of any length; those within the span so far add nothing.
    """
    lengths = new.norm(dim=1, keepdim=True)
    rest = (new / lengths.clamp(min=torch.finfo(new.dtype).tiny))[lengths[:, 0] > 0].double()
    old = (
        torch.zeros(0, new.shape[1], dtype=torch.float64, device=new.device)
        if basis is None
        else basis.double()
    )
    for _ in range(2):  # once more, for what rounding left
        rest = rest - (rest @ old.T) @ old
    _, sizes, directions = torch.linalg.svd(rest, full_matrices=False)
    fresh = directions[sizes > NEGLIGIBLE]
    return torch.cat([old, fresh]).to(new.dtype)
