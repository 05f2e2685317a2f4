"""Which parameters go by which way, decided once for each network and checked against plain autograd.

Hooks cannot see everything: a weight used functionally, fused attention, a module called with its batch elsewhere. So
the first time a network comes by, each layer's share of a small kernel (two examples, random sums of the logits) is
computed in float64 by its rule and by autograd; the parameters for which the two differ are differentiated example by
example instead, and a warning says so. Every use checks one gradient again, of a random sum of the logits of up to 8
of its own examples, since a network may take another way on other inputs, or change its ways with an attribute that
nobody announces.
"""

import copy
import random
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels import separable
from clntk.kernels.costs import Method
from clntk.kernels.groups import Direct, Group, Outer, outputs_and_examples
from clntk.kernels.jacobian import by_autograd, by_vmap
from clntk.kernels.pullback import NotHooked, calls_of
from clntk.kernels.refuse import refuse_coupled, refuse_nan
from clntk.kernels.rules import RULES

TOLERANCE = 1e-11  # of the whole kernel's largest entry, in float64, where the two ways agree to some 1e-15
AGAIN = {
    torch.float64: 1e-8,
    torch.float32: 1e-3,
}  # of a squared gradient norm, when a known network comes again
SAMPLE = 8  # examples of each use that are looked at


class KernelFallbackWarning(UserWarning):
    """Some parameters are differentiated the slow way, because hooks do not see how they are used."""


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


_routes: WeakKeyDictionary[nn.Module, dict[tuple, Route]] = WeakKeyDictionary()


def shares(
    model: nn.Module, x: Tensor, names: tuple[str, ...], method: Method = "auto"
) -> tuple[Tensor, dict[str, list[Group]]]:
    """The logits, and each layer's share of the Jacobian by the checked route.

    Args:
        model: the network.
        x: N inputs.
        names: of the parameters.
        method: ``autograd`` puts all parameters off the rules.

    Returns:
        (N, C), and module name → groups; parameters off the rules come last, under their own names.

    Raises:
        DataError: for a network whose outputs couple examples, are not (examples, outputs), or not numbers.
    """
    route = _route(model, x, names, method)
    while True:
        among = set(route.ruled)
        try:
            outputs, found = _shares(model, x, route)
        except NotHooked as error:  # a module that sees some of the examples, say
            name = next(n for n, m in model.named_modules() if m is error.module)
            _say(name, str(error))
            among.remove(name)
            doubtful = [0, 1][: len(x)]
        else:
            refuse_nan(outputs)
            doubtful = _doubtful(model, x, found, names) if among else []
            if not doubtful:
                break
        new = decide(model, x[doubtful], names, method, among)
        if len(new.ruled) == len(route.ruled):  # two examples do not show it
            _say("", "its rules and autograd disagree on some inputs.")
            new = decide(model, x[doubtful], names, "autograd")
        route = _route(model, x, names, method, new)
    if not found:  # only modules that were never called
        found = {names[0].rpartition(".")[0]: [Direct(outputs.new_zeros(outputs.shape[1], len(x), 1))]}
    return outputs, found


def aligned(
    left: dict[str, list[Group]], right: dict[str, list[Group]], names: tuple[str, ...]
) -> tuple[dict[str, list[Group]], dict[str, list[Group]]] | None:
    """The shares of both sides in step, or nothing if the sides went by different routes.

    A module that was called on one side only has no share of the kernel.
    """
    known = set(names)
    rest, others = ([name for name in side if name in known] for side in (left, right))
    if rest != others:
        return None
    both = [
        name for name in left if name in right and list(map(type, left[name])) == list(map(type, right[name]))
    ]
    if both:
        return {name: left[name] for name in both}, {name: right[name] for name in both}
    return tuple({"": [_nothing(next(iter(side.values()))[0])]} for side in (left, right))


def _nothing(like: Group) -> Group:
    c, n = outputs_and_examples(like)
    some = like.inputs if isinstance(like, Outer) else like.jacobian
    return Direct(some.new_zeros(c, n, 1))


def footprint(
    model: nn.Module, x: Tensor, names: tuple[str, ...], method: Method = "auto"
) -> tuple[int, int, int]:
    """Outputs C, the numbers that the shares of one example take, and the bytes of a number; see :func:`shares`."""
    route = _route(model, x, names, method)
    return route.outputs, route.held, model.get_parameter(names[0]).element_size()


def _route(
    model: nn.Module, x: Tensor, names: tuple[str, ...], method: Method, new: Route | None = None
) -> Route:
    modules = tuple((type(m), m.training) for m in model.modules())
    sizes = tuple(p.shape for p in model.parameters())  # a read-out may grow
    known = method, names, modules, sizes, tuple(x.shape[1:]), min(len(x), 2)
    routes = _routes.setdefault(model, {})
    if new is not None or known not in routes:
        routes[known] = new or decide(model, x[:2], names, method)
    return routes[known]


def _shares(
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
        weight = model.get_submodule(route.readout).weight.detach()
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
    if isinstance(groups[0], Outer):
        grads = zip(*(g.grads for g in groups), strict=True)
        return Outer(torch.cat([g.inputs for g in groups], 1), tuple(torch.cat(g, 1) for g in grads))
    return Direct(sum(g.jacobian for g in groups))


def _doubtful(
    model: nn.Module, x: Tensor, found: dict[str, list[Group]], names: tuple[str, ...]
) -> list[int]:
    """One or two examples on which autograd and the shares disagree, or none."""
    sample = random.Random(0).sample(range(len(x)), min(len(x), SAMPLE))
    if _agree(model, x, sample, found, names):
        return []
    off = [n for n in sample if not _agree(model, x, [n], found, names)]
    return (off or sample)[:2]


def _agree(
    model: nn.Module, x: Tensor, examples: list[int], found: dict[str, list[Group]], names: tuple[str, ...]
) -> bool:
    """Whether the gradient of one random sum of these examples' logits has the norm that the shares give it."""
    parameters = [model.get_parameter(name) for name in names]
    with torch.enable_grad():
        outputs = model(x[examples])
        weights = _directions(len(examples), outputs.shape[1], x.device).to(outputs.dtype)
        total = (outputs * weights).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
    expected = sum((g.square().sum() for g in gradients if g is not None), weights.new_zeros(()))
    got = sum(_norm_along(group, examples, weights) for groups in found.values() for group in groups)
    return bool((got - expected).abs() <= AGAIN[parameters[0].dtype] * expected)


def _norm_along(group: Group, examples: list[int], weights: Tensor) -> Tensor:
    """‖Σ_nc weights[n,c] J[c,n]‖² over some examples."""
    if isinstance(group, Direct):
        moved = torch.einsum("nc,cnp->p", weights, group.jacobian[:, examples])
    else:
        columns = weights[:, :, None, None].unbind(1)
        grad = sum(w * g[examples] for w, g in zip(columns, group.grads, strict=True))
        moved = grad.flatten(0, 1).T @ group.inputs[examples].flatten(0, 1)
    return moved.square().sum()


def _directions(k: int, n_outputs: int, device: torch.device) -> Tensor:
    """Fixed random sums of the logits: what is wrong with one logit is wrong with them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(k, n_outputs, dtype=torch.float64, generator=generator).to(device)


def decide(
    model: nn.Module,
    x: Tensor,
    names: tuple[str, ...],
    method: Method = "auto",
    among: Collection[str] | None = None,
) -> Route:
    """The partition of the named parameters, by a check on the inputs ``x`` (one or two of them).

    Args:
        model, x, names, method: as in :func:`shares`.
        among: the modules that may go by their rule, if not all.
    """
    double = copy.deepcopy(model).double()
    x = x.double() if x.is_floating_point() else x
    outputs = refuse_coupled(double, x).shape[1]
    directions = _directions(2, outputs, x.device)
    try:
        expected = torch.stack([by_autograd(double, x, direction, names) for direction in directions])
    except RuntimeError as error:
        raise DataError(
            f"empirical_ntk: expected a network that autograd can differentiate: {error}"
        ) from error
    if not expected.isfinite().all():
        raise DataError(
            "empirical_ntk: expected finite gradients, found NaN or infinity; look for infinity among the weights (did "
            "the training diverge?) and the inputs"
        )
    with torch.enable_grad():
        if not double(x).requires_grad:
            raise DataError(
                "empirical_ntk: expected outputs that depend on parameters, found none that autograd sees; look for "
                "detach() and no_grad in the network"
            )
    ruled = {} if method == "autograd" else _candidates(double, names)
    ruled = {name: wanted for name, wanted in ruled.items() if among is None or name in among}
    while True:
        try:
            _, found = _shares(double, x, Route(ruled), directions)
            break
        except NotHooked as error:
            name = next(n for n, m in double.named_modules() if m is error.module)
            _say(name, str(error))
            ruled = {n: wanted for n, wanted in ruled.items() if n != name}
    wrong = _wrong(double, expected, found, ruled, names)
    for name in wrong:
        _say(name, "its rule and autograd disagree on two examples: is its weight used elsewhere?")
    ruled = {name: wanted for name, wanted in ruled.items() if name not in wrong}
    covered = {f"{module}.{n}".lstrip(".") for module, wanted in ruled.items() for n in wanted}
    rest = tuple(name for name in names if name not in covered)
    vectorised = bool(rest) and _vectorises(double, x, directions[0], rest)
    right = {name: groups for name, groups in found.items() if name in ruled}
    held = sum(_numbers(group, outputs) for groups in right.values() for group in groups)
    held += outputs * sum(model.get_parameter(name).numel() for name in rest)
    return Route(ruled, rest, vectorised, *_readout(double, right, directions), outputs, held)


def _numbers(group: Group, outputs: int) -> int:
    """How many numbers the share of one example takes, with all outputs."""
    if isinstance(group, Direct):
        return outputs * group.jacobian.shape[2]
    _, _, t, a, b = group.sizes
    return t * (a + outputs * b)


def _readout(
    model: nn.Module, found: dict[str, list[Group]], directions: Tensor
) -> tuple[str | None, frozenset[str]]:
    """The linear module whose outputs are the logits, and the modules whose outputs only it tells apart."""
    outer = {name: groups[0] for name, groups in found.items() if isinstance(groups[0], Outer)}
    for name, group in outer.items():
        module = model.get_submodule(name)
        same = (
            torch.equal(g[:, 0], row.expand_as(g[:, 0]))
            for g, row in zip(group.grads, directions, strict=True)
        )
        if isinstance(module, nn.Linear) and group.sizes[2::2] == (1, directions.shape[1]) and all(same):
            weights = directions @ module.weight.detach()
            return name, frozenset(
                other
                for other, one in outer.items()
                if separable.parts(replace(one, readout=weights)) is not None
            )
    return None, frozenset()


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


def _wrong(
    model: nn.Module,
    expected: Tensor,
    found: dict[str, list[Group]],
    ruled: dict[str, frozenset[str]],
    names: tuple[str, ...],
) -> list[str]:
    """The modules whose share of the small kernel is not autograd's; expected: (directions, N, parameters)."""
    columns = dict(
        zip(names, expected.split([model.get_parameter(n).numel() for n in names], dim=2), strict=True)
    )
    off, largest = {}, 0.0
    for module, wanted in ruled.items():
        plain = torch.cat([columns[f"{module}.{n}".lstrip(".")] for n in sorted(wanted)], dim=2).flatten(0, 1)
        share = plain @ plain.T
        largest = max(largest, float(share.abs().max()))
        got = torch.zeros_like(share)
        for group in found.get(module, ()):
            rows = (group.written_out() if isinstance(group, Outer) else group).jacobian.flatten(0, 1)
            got = got + rows @ rows.T if len(rows) == len(got) else got * float("nan")
        off[module] = float((got - share).abs().max())
    return [module for module, error in off.items() if not error <= TOLERANCE * largest]


def _vectorises(model: nn.Module, x: Tensor, direction: Tensor, names: tuple[str, ...]) -> bool:
    try:
        fast = by_vmap(model, x, direction, names)
    except Exception:  # torch names the many reasons in many ways; the slow way needs none of them
        return False
    return bool(torch.allclose(fast, by_autograd(model, x, direction, names), rtol=1e-9, atol=1e-12))


def _say(module: str, why: str) -> None:
    warnings.warn(
        f"empirical_ntk: {module or 'the model itself'}: {why} Its parameters are differentiated example by example, "
        "which is slower and just as exact.",
        KernelFallbackWarning,
        stacklevel=2,
    )
