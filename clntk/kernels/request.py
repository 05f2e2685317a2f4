"""What is asked of a network's kernel, and the two steps to it: shares of the Jacobian, then their products."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from torch import Tensor, nn

from clntk.kernels.arguments import KernelMode, Layout
from clntk.kernels.contract import BLOCK_BYTES, contracted
from clntk.kernels.costs import Method
from clntk.kernels.groups import Direct, Group, Outer
from clntk.kernels.route import aligned, shares

Shares: TypeAlias = dict[str, list[Group]]  # by the name of a layer


@dataclass(frozen=True)
class Request:
    """A kernel of one network.

    Args:
        model: it.
        names: of the parameters that the kernel is of.
        mode, method, layout: as for :func:`clntk.empirical_ntk`.
    """

    model: nn.Module
    names: tuple[str, ...]
    mode: KernelMode
    method: Method
    layout: Layout

    def shares(self, x: Tensor, way: Method) -> Shares:
        """What each layer has of the Jacobian at some inputs."""
        found = shares(self.model, x, self.names, way)[1]
        return _all_summed(found) if self.mode == "sum_logits" else found

    def both(self, sides: Callable[[Method], tuple[Shares, Shares]]) -> tuple[Shares, Shares]:
        """The shares of both sides by one route: what one side's inputs show may change the way of the other."""
        ways: tuple[Method, ...] = (self.method, self.method, "autograd")
        found = (aligned(*sides(way), self.names) for way in ways)
        return next(both for both in found if both is not None)

    def kernel(
        self, left: list[Group], right: list[Group], *, symmetric: bool, block_bytes: int = BLOCK_BYTES
    ) -> Tensor:
        """The kernel of some groups of parameters on both sides, in the layout asked for."""
        full = self.mode == "full"
        kernel = contracted(
            left,
            right,
            mode="full" if full else "trace",
            symmetric=symmetric,
            method=self.method,
            block_bytes=block_bytes,
        )
        return kernel.permute(1, 0, 3, 2) if full and self.layout == "ncmd" else kernel


def all_groups(found: Shares) -> list[Group]:
    """The groups of all layers."""
    return list(chain(*found.values()))


def _all_summed(found: Shares) -> Shares:
    return {name: [_summed(group) for group in groups] for name, groups in found.items()}


def _summed(group: Group) -> Group:
    """The group of the one logit Σ_c f_c."""
    if isinstance(group, Outer):
        return Outer(group.inputs, (sum(group.grads, group.grads[0].new_zeros(())),))
    return Direct(group.jacobian.sum(0, keepdim=True))
