"""Which parameters go by which way, decided once for each network and checked against plain autograd.

Hooks cannot see everything: a weight used functionally, fused attention, a module called with its batch elsewhere. So
the first time a network comes by, each layer's share of a small kernel (two examples, random sums of the logits) is
computed in float64 by its rule and by autograd; the parameters for which the two differ are differentiated example by
example instead, and a warning says so. Every use checks one gradient again, of a random sum of the logits of up to 8
of its own examples, since a network may take another way on other inputs, or change its ways with an attribute that
nobody announces.
"""

from typing import NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from clntk.kernels.costs import Method
from clntk.kernels.decide import decide, say
from clntk.kernels.gather import Route, gathered
from clntk.kernels.groups import Direct, Group, Outer, outputs_and_examples
from clntk.kernels.pullback import NotHooked
from clntk.kernels.recheck import doubtful
from clntk.kernels.refuse import refuse_nan

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
            outputs, found = gathered(model, x, route)
        except NotHooked as error:  # a module that sees some of the examples, say
            name = next(n for n, m in model.named_modules() if m is error.module)
            say(name, str(error))
            among.remove(name)
            off = [0, 1][: len(x)]
        else:
            refuse_nan(outputs)
            off = doubtful(model, x, found, names) if among else []
            if not off:
                break
        new = decide(model, x[off], names, method, among)
        if len(new.ruled) == len(route.ruled):  # two examples do not show it
            say("", "its rules and autograd disagree on some inputs.")
            new = decide(model, x[off], names, "autograd")
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
    one, other = ({"": [_nothing(next(iter(side.values()))[0])]} for side in (left, right))
    return one, other


def _nothing(like: Group) -> Group:
    c, n = outputs_and_examples(like)
    some = like.inputs if isinstance(like, Outer) else like.jacobian
    return Direct(some.new_zeros(c, n, 1))


class Footprint(NamedTuple):
    """What the shares of a network take: outputs C, numbers an example, the bytes of a number, how many shares."""

    outputs: int
    per_example: int
    item: int
    layers: int


def footprint(model: nn.Module, x: Tensor, names: tuple[str, ...], method: Method = "auto") -> Footprint:
    """Known from a few examples, before the others are passed through; see :func:`shares`."""
    route = _route(model, x, names, method)
    item = model.get_parameter(names[0]).element_size()
    return Footprint(route.outputs, route.held, item, len(route.ruled) + len(route.rest))


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
