"""The empirical neural tangent kernel: exact, layer by layer, without ever forming the Jacobian."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import xarray as xr
from torch import Tensor, nn

from clntk.kernels.arguments import KernelMode, Layout, check_choices, check_combination, parameter_names
from clntk.kernels.budget import refuse_beyond_memory
from clntk.kernels.contract import BLOCK_BYTES, contracted
from clntk.kernels.costs import Method, Mode
from clntk.kernels.groups import Direct, Group, Outer, squared_norms
from clntk.kernels.precision import full_precision
from clntk.kernels.refuse import refuse
from clntk.kernels.route import aligned, footprint, shares

TILE_BYTES = 128 * 2**20  # of a tile on disk


def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    mode: KernelMode = "full",
    per_layer: bool = False,
    params: Iterable[str] | None = None,
    layout: Layout = "ncmd",
    block_bytes: int | None = None,
    out: str | Path | None = None,
    method: Method = "auto",
) -> Tensor | dict[str, Tensor] | xr.DataArray:
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
        block_bytes: bound of the intermediate blocks, as far as the shapes allow, by default 32 MiB; with ``out``, of a
            tile, by default 128 MiB.
        out: a folder to write a kernel to that is too large for memory, as Zarr, tile by tile: interrupted, the same
            call goes on where it stopped. Of a symmetric kernel only the lower tiles are written.
        method: ``auto`` takes, layer by layer, the way with the fewest multiplications (:func:`clntk.ntk_plan` shows
            it); ``gram`` products of Gram matrices, ``jacobian`` Jacobians written out a piece at a time,
            ``autograd`` no rules, but every parameter differentiated example by example: slow, and a reference.

    Returns:
        The kernel in the dtype of the parameters and on their device, not normalised by width or examples; with
        ``out``, as a lazy array (:func:`clntk.open_ntk`).

    Raises:
        DataError: for an empty batch, outputs of another rank or that couple examples, a module in a mode that makes f
            depend on the batch or on chance, unknown or no parameters, an unknown mode, layout or method; a kernel too
            large for the free memory or disk, before anything is computed; a folder ``out`` that holds something else.

    Source: Jacot et al. 2018, arXiv 1806.07572, eq. (4), at finite width.
    """
    check_choices(mode=mode, layout=layout, method=method)
    check_combination(mode, x2, per_layer=per_layer, stored=out is not None)
    refuse(model, x1, x2)
    names = parameter_names(model, params)
    with full_precision():
        if out is not None:
            return _on_disk(model, x1, x2, names, mode, layout, method, block_bytes or TILE_BYTES, Path(out))
        _check_memory(model, x1, x2, names, mode, method, per_layer)
        if mode == "diag":
            return _diagonals(_shares(model, x1, names, mode, method), per_layer)

        def sides(way: Method) -> tuple[dict[str, list[Group]], dict[str, list[Group]]]:
            left = _shares(model, x1, names, mode, way)
            return left, left if x2 is None else _shares(model, x2, names, mode, way)

        left, right = _in_step(sides, names, method)
        how = {"mode": _held(mode), "method": method, "block_bytes": block_bytes or BLOCK_BYTES}
        if per_layer:
            return {
                name: _kernel(left[name], right[name], layout, symmetric=x2 is None, **how) for name in left
            }
        return _kernel(_all(left), _all(right), layout, symmetric=x2 is None, **how)


def _held(mode: KernelMode) -> Mode:
    return "full" if mode == "full" else "trace"


def _in_step(
    sides: Callable[[Method], tuple[dict[str, list[Group]], dict[str, list[Group]]]],
    names: tuple[str, ...],
    method: Method,
) -> tuple[dict[str, list[Group]], dict[str, list[Group]]]:
    """The shares of both sides by one route: what one side's inputs show may change the way of the other."""
    found = (aligned(*sides(way), names) for way in (method, method, "autograd"))
    return next(both for both in found if both is not None)


def _all(found: dict[str, list[Group]]) -> list[Group]:
    return list(chain(*found.values()))


def _shares(
    model: nn.Module, x: Tensor, names: tuple[str, ...], mode: KernelMode, method: Method
) -> dict[str, list[Group]]:
    found = shares(model, x, names, method)[1]
    return _all_summed(found) if mode == "sum_logits" else found


def _check_memory(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None,
    names: tuple[str, ...],
    mode: KernelMode,
    method: Method,
    per_layer: bool,
) -> None:
    """
    Raises:
        DataError: if the kernel, or each layer's, does not fit in the free memory.
    """
    outputs, per_example, item, layers = footprint(model, x1, names, method)
    kernels = layers if per_layer else 1
    n, m = len(x1), len(x1 if x2 is None else x2)
    entries = {"full": n * m * outputs**2, "diag": n * outputs}.get(mode, n * m)
    beside = (n if x2 is None else n + m) * per_example
    refuse_beyond_memory(entries * kernels * item, beside * item, x1.device)


def _on_disk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None,
    names: tuple[str, ...],
    mode: KernelMode,
    layout: Layout,
    method: Method,
    tile_bytes: int,
    out: Path,
) -> xr.DataArray:
    from clntk.kernels import stored  # brings Zarr, which few need
    from clntk.kernels.tiling import Tiling

    outputs, per_example, item, _ = footprint(model, x1, names, method)
    m = len(x1 if x2 is None else x2)
    if mode == "full":
        tiling = Tiling.of(len(x1), m, outputs, item, tile_bytes, layout=layout, symmetric=x2 is None)
    else:
        tiling = Tiling.of(len(x1), m, 1, item, tile_bytes, layout="nm", symmetric=x2 is None)
    kept = max(2, 4 * tile_bytes // (tiling.side * per_example * item))

    @lru_cache(maxsize=kept)
    def side(second: bool, start: int, stop: int, way: Method) -> dict[str, list[Group]]:
        return _shares(model, (x2 if second else x1)[start:stop], names, mode, way)

    def tile(rows: slice, columns: slice) -> np.ndarray:
        same = x2 is None and rows == columns

        def sides(way: Method) -> tuple[dict[str, list[Group]], dict[str, list[Group]]]:
            left = side(False, rows.start, rows.stop, way)
            right = side(x2 is not None, columns.start, columns.stop, way)
            if aligned(left, right, names) is None:
                side.cache_clear()
            return left, right

        left, right = _in_step(sides, names, method)
        how = {"mode": _held(mode), "symmetric": same, "method": method}
        return _kernel(_all(left), _all(right), layout, **how).cpu().numpy()

    dtype = np.dtype(f"f{item}")
    identity = stored.identity_of(model, x1, x2, mode, tiling.layout, ",".join(names))
    return stored.write(out, tiling, dtype, identity, tile)


def _diagonals(found: dict[str, list[Group]], per_layer: bool) -> Tensor | dict[str, Tensor]:
    parts = {name: sum(squared_norms(group) for group in groups) for name, groups in found.items()}
    return parts if per_layer else sum(parts.values())


def _kernel(
    left: list[Group], right: list[Group], layout: Layout, *, mode: Mode, symmetric: bool, **how
) -> Tensor:
    kernel = contracted(left, right, mode=mode, symmetric=symmetric, **how)
    return kernel.permute(1, 0, 3, 2) if mode == "full" and layout == "ncmd" else kernel


def _all_summed(shares: dict[str, list[Group]]) -> dict[str, list[Group]]:
    return {name: [_summed(group) for group in groups] for name, groups in shares.items()}


def _summed(group: Group) -> Group:
    """The group of the one logit Σ_c f_c."""
    if isinstance(group, Outer):
        return Outer(group.inputs, (sum(group.grads),))
    return Direct(group.jacobian.sum(0, keepdim=True))
