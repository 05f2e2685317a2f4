"""The empirical neural tangent kernel: exact, layer by layer, without ever forming the Jacobian."""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels.contract import Mode, add_share, mirror
from clntk.kernels.groups import Group, Outer, squared_norms
from clntk.kernels.refuse import refuse
from clntk.kernels.route import route_of, shares

KernelMode = Literal["full", "trace", "diag", "sum_logits"]
Layout = Literal["ncmd", "cndm"]
MODES = ("full", "trace", "diag", "sum_logits")


def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    mode: KernelMode = "full",
    per_layer: bool = False,
    params: Iterable[str] | None = None,
    layout: Layout = "ncmd",
) -> Tensor | dict[str, Tensor]:
    """The empirical NTK of a network's logits, K[n,c,m,d] = ⟨∂f_c(x1_n)/∂θ, ∂f_d(x2_m)/∂θ⟩.

    A layer's Jacobian is a sum of outer products of what it saw and what comes back to it, so that its share of the
    kernel is a product of two small Gram matrices. Modules without a rule, weights that several modules share and
    raw parameters are differentiated example by example. The first use of a network compares both ways on two
    examples with plain autograd in float64, and warns where it has to fall back. The model is left as it was found.

    Args:
        model: any module whose output is (examples, C).
        x1: N inputs.
        x2: M inputs; by default ``x1``.
        mode: ``full`` (N, C, M, C); ``trace`` (N, M), the *sum* over outputs Σ_c K[n,c,m,c] (some tools return the
            mean); ``diag`` (N, C), K[n,c,n,c], of ``x1`` alone; ``sum_logits`` (N, M), Σ_cd K[n,c,m,d], the kernel of
            Σ_c f_c.
        per_layer: return each layer's share by module name (parameters without a rule by their own name); the shares
            sum to the kernel.
        params: names of the parameters θ; by default all that require gradients.
        layout: of a full kernel: ``ncmd`` is (N, C, M, C), ``cndm`` (C, N, C, M), which is how it lies in memory.

    Returns:
        The kernel in the dtype of the parameters and on their device, not normalised by width or examples.

    Raises:
        DataError: for an empty batch, outputs of another rank or that couple examples, a module in a mode that makes f
            depend on the batch or on chance, unknown or no parameters, or an unknown mode.

    Source: Jacot et al. 2018, arXiv 1806.07572, eq. (4), at finite width.
    """
    if mode not in MODES:
        raise DataError(f"empirical_ntk.mode: expected one of {', '.join(MODES)}, found {mode!r}")
    if mode == "diag" and x2 is not None:
        raise DataError("empirical_ntk: expected x1 alone in mode diag, found x2 as well; leave it out")
    refuse(model, x1, x2)
    route = route_of(model, x1, parameter_names(model, params))
    outputs, left = shares(model, x1, route)
    right = left if x2 is None else shares(model, x2, route)[1]
    if mode == "sum_logits":
        left, right = _all_summed(left), _all_summed(right)
    return _kernels(left, right, outputs, mode, per_layer, layout, symmetric=x2 is None)


def _kernels(
    left: dict[str, list[Group]],
    right: dict[str, list[Group]],
    outputs: Tensor,
    mode: KernelMode,
    per_layer: bool,
    layout: Layout,
    *,
    symmetric: bool,
) -> Tensor | dict[str, Tensor]:
    n, c = outputs.shape
    m = n if symmetric else _examples(right)
    if mode == "diag":
        parts = {name: sum(squared_norms(group) for group in groups) for name, groups in left.items()}
        return parts if per_layer else sum(parts.values(), outputs.new_zeros(n, c))
    held: Mode = "full" if mode == "full" else "trace"
    shape = (c, n, c, m) if held == "full" else (n, m)
    total = outputs.new_zeros(shape)
    parts = {}
    for name, groups in left.items():
        kernel = outputs.new_zeros(shape) if per_layer else total
        for one, other in zip(groups, right[name], strict=True):
            add_share(kernel, one, other, mode=held, symmetric=symmetric)
        parts[name] = kernel
    if not per_layer:
        return _finished(total, held, layout, symmetric)
    return {name: _finished(kernel, held, layout, symmetric) for name, kernel in parts.items()}


def _finished(kernel: Tensor, mode: Mode, layout: Layout, symmetric: bool) -> Tensor:
    if mode == "trace":
        return kernel
    if symmetric:
        mirror(kernel)
    return kernel.permute(1, 0, 3, 2) if layout == "ncmd" else kernel


def _all_summed(shares: dict[str, list[Group]]) -> dict[str, list[Group]]:
    return {name: [_summed(group) for group in groups] for name, groups in shares.items()}


def _summed(group: Group) -> Group:
    """The group of the one logit Σ_c f_c."""
    if isinstance(group, Outer):
        return Outer(group.inputs, group.grads.sum(0, keepdim=True))
    return type(group)(group.jacobian.sum(1, keepdim=True))


def _examples(groups: dict[str, list[Group]]) -> int:
    first = next(iter(groups.values()))[0]
    return len(first.inputs if isinstance(first, Outer) else first.jacobian)


def parameter_names(model: nn.Module, params: Iterable[str] | None) -> tuple[str, ...]:
    """The names given, or those of all parameters that require gradients.

    Raises:
        DataError: for a name that the model does not have, or that is frozen.
    """
    known = dict(model.named_parameters())
    if params is None:
        return tuple(name for name, p in known.items() if p.requires_grad)
    chosen = tuple(params)
    for name in chosen:
        if name not in known or not known[name].requires_grad:
            trained = ", ".join(n for n, p in known.items() if p.requires_grad)
            raise DataError(
                f"empirical_ntk.params: expected names of parameters that require gradients ({trained}), found {name!r}"
            )
    return chosen
