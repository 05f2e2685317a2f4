"""What a kernel would cost, before it is computed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from clntk.kernels.arguments import check_choices, parameter_names
from clntk.kernels.costs import Method, Mode, cheapest, multiplications
from clntk.kernels.groups import Group, Outer
from clntk.kernels.pullback import calls_of
from clntk.kernels.refuse import refuse
from clntk.kernels.route import shares

_PASSES = "forward and backward"


@dataclass(frozen=True)
class PlanRow:
    """One layer's share: by which contraction, at how many floating-point operations, with how many bytes beside it."""

    layer: str
    method: str
    flops: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The passes through the network, the layers' shares, and the kernel's own size.

    Args:
        rows: the passes first, then one a group of parameters. Seconds are operations over the speed of a matrix
            product measured just now: a lower bound.
        kernel_bytes: of the kernel itself.
    """

    rows: tuple[PlanRow, ...]
    kernel_bytes: int

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    @property
    def bytes(self) -> int:
        """Of the kernel and what is held beside it."""
        return self.kernel_bytes + sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        head = f"{'layer':<28} {'method':<24} {'FLOP':>10} {'bytes':>10} {'seconds':>10}"
        lines = [
            f"{row.layer:<28} {row.method:<24} {row.flops:>10.2e} {row.bytes:>10.2e} {row.seconds:>10.2e}"
            for row in self.rows
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
    method: Method = "auto",
) -> Plan:
    """How :func:`clntk.empirical_ntk` would compute a symmetric kernel: method, operations, bytes and time by layer.

    Only two examples are passed through the network, so that a plan for a million costs no more than one for ten.

    Args:
        model: as for :func:`clntk.empirical_ntk`.
        x: some inputs.
        n: how many examples to plan for; by default as many as ``x`` has.
        mode: ``full`` or ``trace``.
        params: names of the parameters; by default all that require gradients.
        method: as for :func:`clntk.empirical_ntk`.

    Raises:
        DataError: as :func:`clntk.empirical_ntk` does.
    """
    check_choices(mode=mode, method=method)
    refuse(model, x)
    n = len(x) if n is None else n
    names = parameter_names(model, params)
    outputs, found = shares(model, x[:2], names, method)
    speed = _matmul_speed(outputs)
    passes = n * _passes(model, x[:1], found)
    rows = [PlanRow(_PASSES, f"{outputs.shape[1]} outputs", passes, 0, passes / speed)]
    rows += [_row(name, group, n, mode, method, speed) for name, groups in found.items() for group in groups]
    entries = n * n if mode == "trace" else (n * outputs.shape[1]) ** 2
    return Plan(tuple(rows), entries * outputs.element_size())


def _passes(model: nn.Module, x: Tensor, found: dict[str, list[Group]]) -> int:
    """Operations of one example's forward pass, and of the backward passes down to the modules that have a rule."""
    modules = [model.get_submodule(name) for name in found if name in dict(model.named_modules())]
    with FlopCounterMode(display=False) as counter:
        calls_of(model, modules, x)
    return counter.get_total_flops()


def _row(name: str, group: Group, n: int, mode: Mode, method: Method, speed: float) -> PlanRow:
    """A symmetric share: half the products, each a multiplication and an addition."""
    way: str
    if isinstance(group, Outer):
        c, _, t, a, b = group.sizes
        way = cheapest(group, group, mode, method, n)
        flops = multiplications(group, group, mode, n, n)[way]
        held = n * t * (a + c * b) * group.inputs.element_size()
    else:
        c, _, size = group.jacobian.shape
        way = "written out"
        flops = n * n * size * (c if mode == "trace" else c * c)
        held = n * c * size * group.jacobian.element_size()
    return PlanRow(name, way, flops, held, flops / speed)


def _matmul_speed(like: Tensor, size: int = 2048) -> float:
    """Floating-point operations a second of a square matrix product, the best of three."""
    own = torch.Generator(like.device).manual_seed(0)  # a plan draws nothing that training would have drawn
    a = torch.randn(size, size, dtype=like.dtype, device=like.device, generator=own)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        (a @ a).sum().item()  # the sum waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
