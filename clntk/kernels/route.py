"""Which parameters go by which way, decided once for each network and checked against plain autograd.

Hooks cannot see everything: a weight used functionally, fused attention, a module called with its batch elsewhere. So
the first time a network comes by, the kernel of two examples is computed in float64 by the rules and by autograd; the
parameters for which the two differ are differentiated example by example instead, and a warning says so.
"""

import copy
import warnings
from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels.groups import Direct, Group, Outer
from clntk.kernels.jacobian import by_autograd, by_vmap
from clntk.kernels.pullback import NotHooked, calls_of
from clntk.kernels.rules import RULES

TOLERANCE = 1e-11  # of the whole kernel's largest entry, in float64, where the two ways agree to some 1e-15


class KernelFallbackWarning(UserWarning):
    """Some parameters are differentiated the slow way, because hooks do not see how they are used."""


@dataclass(frozen=True)
class Route:
    """A partition of the parameters.

    Args:
        ruled: module name → names of its own parameters that its rule covers.
        rest: full names of all other parameters.
        vectorised: whether torch can differentiate the rest for many examples at once.
    """

    ruled: dict[str, frozenset[str]]
    rest: tuple[str, ...] = ()
    vectorised: bool = False


_routes: WeakKeyDictionary[nn.Module, dict[tuple, Route]] = WeakKeyDictionary()


def route_of(model: nn.Module, x: Tensor, names: tuple[str, ...]) -> Route:
    """The checked partition of the named parameters of a network; decided at its first use."""
    key = (names, tuple(m.training for m in model.modules()), tuple(x.shape[1:]), min(len(x), 2))
    known = _routes.setdefault(model, {})
    if key not in known:
        known[key] = _checked(model, x[:2], names)
    return known[key]


def shares(model: nn.Module, x: Tensor, route: Route) -> tuple[Tensor, dict[str, list[Group]]]:
    """The logits, and each layer's share of the Jacobian; parameters off the rules come last, under their own names."""
    modules = {model.get_submodule(name): name for name in route.ruled}
    outputs, calls = calls_of(model, modules, x)
    out = {}
    for module, name in modules.items():
        parts = [RULES[type(module)](module, call, route.ruled[name]) for call in calls[module]]
        if parts:  # a module that was never called has no share
            out[name] = [_joined(groups) for groups in zip(*parts, strict=True)]
    differentiate = by_vmap if route.vectorised else by_autograd
    for name in route.rest:
        jacobian = [differentiate(model, x, c, (name,)) for c in range(outputs.shape[1])]
        out[name] = [Direct(torch.stack(jacobian, dim=1))]
    return outputs, out


def _joined(groups: tuple[Group, ...]) -> Group:
    """One group for all calls of a module: positions follow one another, written-out Jacobians add up."""
    if len(groups) == 1:
        return groups[0]
    if isinstance(groups[0], Outer):
        return Outer(torch.cat([g.inputs for g in groups], 1), torch.cat([g.grads for g in groups], 2))
    return Direct(sum(g.jacobian for g in groups))


def _candidates(model: nn.Module, names: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Modules with a rule, and their parameters; parameters that several modules share are left out."""
    owners = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    found = {}
    for module_name, module in model.named_modules():
        if type(module) not in RULES:
            continue
        own = {n for n, p in module.named_parameters(recurse=False) if owners[id(p)] == 1}
        wanted = frozenset(n for n in own if f"{module_name}.{n}".lstrip(".") in names)
        if wanted:
            found[module_name] = wanted
    return found


def _checked(model: nn.Module, x: Tensor, names: tuple[str, ...]) -> Route:
    double = copy.deepcopy(model).double()
    x = x.double() if x.is_floating_point() else x
    ruled = _candidates(double, names)
    outputs = _uncoupled_outputs(double, x)
    while True:
        try:
            _, found = shares(double, x, Route(ruled))
            break
        except NotHooked as error:
            name = next(n for n, m in double.named_modules() if m is error.module)
            _say(name, str(error))
            ruled = {n: wanted for n, wanted in ruled.items() if n != name}
    expected = {name: _share(double, x, outputs.shape[1], name, wanted) for name, wanted in ruled.items()}
    scale = max((share.abs().max() for share in expected.values()), default=0.0)
    wrong = [name for name in ruled if not (_off(expected[name], found.get(name)) <= TOLERANCE * scale)]
    for name in wrong:
        _say(name, "its rule and autograd disagree on two examples: is its weight used elsewhere?")
    ruled = {name: wanted for name, wanted in ruled.items() if name not in wrong}
    covered = {f"{module}.{n}".lstrip(".") for module, wanted in ruled.items() for n in wanted}
    rest = tuple(name for name in names if name not in covered)
    return Route(ruled, rest, bool(rest) and _vectorises(double, x, outputs.shape[1], rest))


def _vectorises(model: nn.Module, x: Tensor, n_outputs: int, names: tuple[str, ...]) -> bool:
    try:
        fast = torch.stack([by_vmap(model, x, c, names) for c in range(n_outputs)])
    except Exception:  # torch names the many reasons in many ways; the slow way needs none of them
        return False
    slow = torch.stack([by_autograd(model, x, c, names) for c in range(n_outputs)])
    return bool(torch.allclose(fast, slow, rtol=1e-9, atol=1e-12))


def _share(model: nn.Module, x: Tensor, n_outputs: int, module: str, wanted: frozenset[str]) -> Tensor:
    """A module's share of the kernel by plain autograd: (C · N, C · N)."""
    names = tuple(f"{module}.{n}".lstrip(".") for n in sorted(wanted))
    jacobian = torch.cat([by_autograd(model, x, c, names) for c in range(n_outputs)])
    return jacobian @ jacobian.T


def _off(expected: Tensor, groups: list[Group] | None) -> float:
    """The largest error of the rule's share; infinite if it is of another shape."""
    got = torch.zeros_like(expected)
    for group in groups or ():
        jacobian = (group.written_out() if isinstance(group, Outer) else group).jacobian
        rows = jacobian.transpose(0, 1).flatten(0, 1)  # in the order of _share: output by output
        if len(rows) != len(got):
            return float("inf")
        got += rows @ rows.T
    return float((got - expected).abs().max())


def _uncoupled_outputs(model: nn.Module, x: Tensor) -> Tensor:
    """The logits, after seeing that an example's logits do not depend on its neighbours.

    Raises:
        DataError: if they do, or are not (examples, outputs).
    """
    with torch.no_grad():
        outputs = model(x)
        if outputs.ndim != 2 or len(outputs) != len(x):
            raise DataError(
                f"empirical_ntk: expected outputs of shape (examples, outputs), found {tuple(outputs.shape)} "
                f"for {len(x)} examples"
            )
        alone = torch.cat([model(x[i : i + 1]) for i in range(len(x))])
    if not torch.allclose(outputs, alone, rtol=1e-8, atol=1e-10):
        raise DataError(
            "empirical_ntk: an example's outputs change with the others in its batch, so that f(x) has no kernel; "
            "look for statistics over the batch (a batch-norm without running statistics, say)"
        )
    return outputs


def _say(module: str, why: str) -> None:
    warnings.warn(
        f"empirical_ntk: {module or 'the model itself'}: {why} Its parameters are differentiated example by example, "
        "which is slower and just as exact.",
        KernelFallbackWarning,
        stacklevel=2,
    )
