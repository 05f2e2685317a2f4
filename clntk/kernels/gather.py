"""Each layer's share of the Jacobian, by a given partition of the parameters."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from clntk.kernels.groups import Direct, Group, Outer
from clntk.kernels.jacobian import by_autograd, by_vmap
from clntk.kernels.pullback import calls_of
from clntk.kernels.rules import RULES


@dataclass(frozen=True)
class Route:
    """A partition of the parameters.

    Args:
        ruled: module name → names of its own parameters that its rule covers.
        rest: full names of all other parameters.
        vectorised: whether torch can differentiate the rest for many examples at once.
        readout: the linear module whose outputs are the logits, if there is one.
        above: modules whose outputs only the read-out tells apart, on the examples of the check.
        outputs: C.
        held: numbers that the shares of one example take.
    """

    ruled: dict[str, frozenset[str]]
    rest: tuple[str, ...] = ()
    vectorised: bool = False
    readout: str | None = None
    above: frozenset[str] = frozenset()
    outputs: int = 0
    held: int = 0


def gathered(
    model: nn.Module, x: Tensor, route: Route, directions: Tensor | None = None
) -> tuple[Tensor, dict[str, list[Group]]]:
    modules = {model.get_submodule(name): name for name in route.ruled}
    outputs, calls = calls_of(model, modules, x, directions)
    out: dict[str, list[Group]] = {}
    for module, name in modules.items():
        parts = [RULES[type(module)](module, call, route.ruled[name]) for call in calls[module]]
        if parts:  # a module that was never called has no share
            out[name] = [_joined(groups) for groups in zip(*parts, strict=True)]
    if route.readout is not None:
        readout = model.get_submodule(route.readout)
        assert isinstance(readout, nn.Linear)  # as it was found
        weight = readout.weight.detach()
        for name in route.above & out.keys():
            out[name] = [
                replace(group, readout=weight) if isinstance(group, Outer) else group for group in out[name]
            ]
    if route.rest:
        differentiate = by_vmap if route.vectorised else by_autograd
        each = torch.eye(outputs.shape[1]).to(outputs) if directions is None else directions
        jacobian = torch.stack([differentiate(model, x, direction, route.rest) for direction in each])
        sizes = [model.get_parameter(name).numel() for name in route.rest]
        out |= {name: [Direct(j)] for name, j in zip(route.rest, jacobian.split(sizes, dim=2), strict=True)}
    return outputs, out


def _joined(groups: tuple[Group, ...]) -> Group:
    """One group for all calls of a module: positions follow one another, written-out Jacobians add up."""
    if len(groups) == 1:
        return groups[0]
    outer = [g for g in groups if isinstance(g, Outer)]
    direct = [g.jacobian for g in groups if isinstance(g, Direct)]
    assert not (outer and direct)  # all calls of a module are of one kind
    if outer:
        grads = zip(*(g.grads for g in outer), strict=True)
        return Outer(torch.cat([g.inputs for g in outer], 1), tuple(torch.cat(g, 1) for g in grads))
    return Direct(sum(direct, direct[0].new_zeros(())))


def numbers(group: Group, outputs: int) -> int:
    """How many numbers the share of one example takes, with all outputs."""
    if isinstance(group, Direct):
        return outputs * group.jacobian.shape[2]
    _, _, t, a, b = group.sizes
    return t * (a + outputs * b)
