"""What a kernel would cost, before it is computed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clntk.kernels.contract import Mode, multiplications
from clntk.kernels.empirical import parameter_names
from clntk.kernels.groups import Group, Outer
from clntk.kernels.refuse import refuse
from clntk.kernels.route import Route, route_of, shares


@dataclass(frozen=True)
class PlanRow:
    """One layer's share: by which contraction, at how many floating-point operations, with how many bytes beside it."""

    layer: str
    method: str
    flops: int
    bytes: int


@dataclass(frozen=True)
class Plan:
    """The layers' shares, the kernel's own size, and the time that the operations alone would take here.

    Args:
        rows: one a group of parameters.
        kernel_bytes: of the kernel itself.
        seconds: operations over the matrix-product speed measured just now: a lower bound.
    """

    rows: tuple[PlanRow, ...]
    kernel_bytes: int
    seconds: float

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    def __str__(self) -> str:
        head = f"{'layer':<28} {'method':<24} {'FLOP':>10} {'bytes':>10}"
        lines = [
            f"{row.layer:<28} {row.method:<24} {row.flops:>10.2e} {row.bytes:>10.2e}" for row in self.rows
        ]
        total = f"kernel: {self.kernel_bytes:.2e} bytes; {self.flops:.2e} FLOP, at least {self.seconds:.3g} s here"
        return "\n".join([head, *lines, total])


def ntk_plan(
    model: nn.Module,
    x: Tensor,
    n: int | None = None,
    *,
    mode: Mode = "full",
    params: Iterable[str] | None = None,
) -> Plan:
    """How :func:`clntk.empirical_ntk` would compute a symmetric kernel: method, operations, bytes and time by layer.

    Only two examples are passed through the network, so that a plan for a million costs no more than one for ten.

    Args:
        model: as for :func:`clntk.empirical_ntk`.
        x: some inputs.
        n: how many examples to plan for; by default as many as ``x`` has.
        mode: ``full`` or ``trace``.
        params: names of the parameters; by default all that require gradients.

    Raises:
        DataError: as :func:`clntk.empirical_ntk` does.
    """
    refuse(model, x)
    n = len(x) if n is None else n
    route = route_of(model, x, parameter_names(model, params))
    outputs, found = shares(model, x[:2], route)
    item, c = outputs.element_size(), outputs.shape[1]
    rows = tuple(
        _row(name, group, route, n, mode, item) for name, groups in found.items() for group in groups
    )
    entries = n * n if mode == "trace" else (n * c) ** 2
    speed = _matmul_speed(outputs)
    return Plan(rows, entries * item, sum(row.flops for row in rows) / speed)


def _row(name: str, group: Group, route: Route, n: int, mode: Mode, item: int) -> PlanRow:
    if isinstance(group, Outer):
        c, _, t, b = group.grads.shape
        a = group.inputs.shape[2]
        if group.is_readout:
            return PlanRow(name, "readout", n * n * a, n * a * item)
        costs = multiplications(n=n, m=n, t=t, s=t, a=a, b=b, c=c, mode=mode)
        method = min(costs, key=costs.__getitem__)
        held = n * t * (a + c * b) + (n * c * a * b if method == "jacobian" else 0)
        return PlanRow(
            name, method, costs[method], held * item
        )  # halved by symmetry, doubled: multiply and add
    _, c, size = group.jacobian.shape
    outputs = c if mode == "trace" else c * c
    ways = {True: "written out, vectorised", False: "written out, one by one"}
    way = ways[route.vectorised] if name in route.rest else "written out"
    return PlanRow(name, way, n * n * outputs * size, n * c * size * item)


def _matmul_speed(like: Tensor, size: int = 1024) -> float:
    """Floating-point operations a second of a square matrix product, the best of three."""
    a = torch.randn(size, size, dtype=like.dtype, device=like.device)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        (a @ a).sum().item()  # the sum waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
