"""Which parameters go by the rules: each layer's share of a small kernel against plain autograd, in float64."""

import copy
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn

from clntk.errors import DataError, KernelFallbackWarning
from clntk.kernels import separable
from clntk.kernels.costs import Method
from clntk.kernels.gather import Route, gathered, numbers
from clntk.kernels.groups import Group, Outer
from clntk.kernels.jacobian import by_autograd, by_vmap
from clntk.kernels.pullback import NotHooked
from clntk.kernels.recheck import directions_of
from clntk.kernels.refuse import refuse_coupled
from clntk.kernels.rules import RULES

TOLERANCE = 1e-11  # of the whole kernel's largest entry, in float64, where the two ways agree to some 1e-15


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
    double = _copied(model).double()
    x = x.double() if x.is_floating_point() else x
    outputs = refuse_coupled(double, x).shape[1]
    directions = directions_of(2, outputs, x.device)
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
            _, found = gathered(double, x, Route(ruled), directions)
            break
        except NotHooked as error:
            name = next(n for n, m in double.named_modules() if m is error.module)
            say(name, str(error))
            ruled = {n: wanted for n, wanted in ruled.items() if n != name}
    wrong = _wrong(double, expected, found, ruled, names)
    for name in wrong:
        say(name, "its rule and autograd disagree on two examples: is its weight used elsewhere?")
    ruled = {name: wanted for name, wanted in ruled.items() if name not in wrong}
    covered = {f"{module}.{n}".lstrip(".") for module, wanted in ruled.items() for n in wanted}
    rest = tuple(name for name in names if name not in covered)
    vectorised = bool(rest) and _vectorises(double, x, directions[0], rest)
    right = {name: groups for name, groups in found.items() if name in ruled}
    held = sum(numbers(group, outputs) for groups in right.values() for group in groups)
    held += outputs * sum(model.get_parameter(name).numel() for name in rest)
    return Route(ruled, rest, vectorised, *_readout(double, right, directions), outputs, held)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        raise DataError(
            "empirical_ntk: expected a network that can be copied, found one that keeps computed tensors, as "
            "torch.nn.utils.weight_norm does; use torch.nn.utils.parametrizations.weight_norm, or do not keep results "
            f"of the forward pass as attributes ({error})"
        ) from error


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


def say(module: str, why: str) -> None:
    warnings.warn(
        f"empirical_ntk: {module or 'the model itself'}: {why} Its parameters are differentiated example by example, "
        "which is slower and just as exact.",
        KernelFallbackWarning,
        stacklevel=2,
    )
