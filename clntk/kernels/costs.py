"""What each contraction of a layer's share costs, in multiplications and bytes."""

from typing import Literal

from clntk.kernels.groups import Outer

Mode = Literal["full", "trace"]
Way = Literal["readout", "gram", "positions", "jacobian", "separable"]
Method = Literal["auto", "gram", "jacobian", "autograd"]
METHODS: tuple[Method, ...] = ("auto", "gram", "jacobian", "autograd")

_READ = 64  # multiplications in the time that one number comes from memory


def multiplications(
    left: Outer, right: Outer, mode: Mode, n: int | None = None, m: int | None = None
) -> dict[Way, int]:
    """What each way would cost, without the saving of symmetry.

    Args:
        left, right: the group on both sides.
        mode: what the kernel holds.
        n, m: examples on both sides, if other than the groups' own.
    """
    c, n_left, t, a, b = left.sizes
    _, n_right, s, _, _ = right.sizes
    n, m = n or n_left, m or n_right
    if left.is_readout and right.is_readout:
        return {"readout": n * m * a}
    pairs = c if mode == "trace" else c * c
    written = n * t + m * s
    if t == s == 1:
        ways: dict[Way, int] = {"gram": n * m * (a + pairs * (b + 1))}
    else:
        ways = {"positions": n * m * t * s * (a + pairs * (b + 1))}
    ways["jacobian"] = written * c * a * b + n * m * pairs * a * b
    if left.readout is not None and right.readout is not None:
        if mode == "trace":
            ways["separable"] = n * m * (a + b + 1) if t == s == 1 else written * a * b + n * m * a * b
        else:
            ways["separable"] = written * a * b + n * m * (a + pairs) * b
    return ways


def cheapest(left: Outer, right: Outer, mode: Mode, method: Method, n: int | None = None) -> Way:
    """The way with the fewest multiplications, of those that the method allows.

    Args:
        left, right, mode: as in :func:`multiplications`.
        method: ``auto`` for all ways, ``gram`` for those by Gram matrices, ``jacobian`` for the written-out one.
        n: examples on both sides, if other than the groups' own.
    """
    costs = multiplications(left, right, mode, n, n)
    allowed = {"gram": ("gram", "positions"), "jacobian": ("jacobian",)}.get(method, tuple(costs))
    ways = {way: cost for way, cost in costs.items() if way in allowed} or costs
    if "separable" in ways:  # its gradients must be looked through
        c, _, t, _, b = left.sizes
        ways["separable"] += _READ * (n or left.sizes[1]) * t * c * b
    return min(ways, key=ways.__getitem__)
