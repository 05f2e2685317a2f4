"""The empirical neural tangent kernel: exact, layer by layer, without ever forming the Jacobian."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clntk.kernels.arguments import KernelMode, Layout, check_choices, check_combination, parameter_names
from clntk.kernels.budget import refuse_beyond_memory
from clntk.kernels.contract import BLOCK_BYTES
from clntk.kernels.costs import Method
from clntk.kernels.groups import Group, squared_norms
from clntk.kernels.precision import full_precision
from clntk.kernels.refuse import refuse
from clntk.kernels.request import Request, Shares, all_groups
from clntk.kernels.route import footprint

TILE_BYTES = 128 * 2**20  # of a tile on disk


@overload
def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    mode: KernelMode = "full",
    per_layer: Literal[False] = False,
    params: Iterable[str] | None = None,
    layout: Layout = "ncmd",
    block_bytes: int | None = None,
    out: None = None,
    engine: str | Mapping[str, Any] | None = None,
    method: Method = "auto",
) -> Tensor: ...
@overload
def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    mode: KernelMode = "full",
    per_layer: Literal[True],
    params: Iterable[str] | None = None,
    layout: Layout = "ncmd",
    block_bytes: int | None = None,
    out: None = None,
    engine: str | Mapping[str, Any] | None = None,
    method: Method = "auto",
) -> dict[str, Tensor]: ...
@overload
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
    out: str | Path,
    engine: str | Mapping[str, Any] | None = None,
    method: Method = "auto",
) -> xr.DataArray: ...
@overload
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
    engine: str | Mapping[str, Any] | None = None,
    method: Method = "auto",
) -> Tensor | dict[str, Tensor] | xr.DataArray: ...
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
    engine: str | Mapping[str, Any] | None = None,
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
        engine: with ``out``, where tiles are computed: a registered engine, or a mapping of its ``name`` and options,
            such as ``{"name": "dask", "workers": 4}``; by default in this process. Engines on other machines have to
            see the folder.
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
    check_combination(mode, x2, per_layer=per_layer, stored=out is not None, engine=engine)
    refuse(model, x1, x2)
    request = Request(model, parameter_names(model, params), mode, method, layout)
    if out is not None:
        return _on_disk(request, x1, x2, block_bytes or TILE_BYTES, Path(out), engine)
    with full_precision():
        _check_memory(request, x1, x2, per_layer)
        if mode == "diag":
            return _diagonals(request.shares(x1, method), per_layer)

        def sides(way: Method) -> tuple[Shares, Shares]:
            left = request.shares(x1, way)
            return left, left if x2 is None else request.shares(x2, way)

        left, right = request.both(sides)

        def kernel(one: list[Group], other: list[Group]) -> Tensor:
            return request.kernel(one, other, symmetric=x2 is None, block_bytes=block_bytes or BLOCK_BYTES)

        if per_layer:
            return {name: kernel(left[name], right[name]) for name in left}
        return kernel(all_groups(left), all_groups(right))


def _check_memory(request: Request, x1: Tensor, x2: Tensor | None, per_layer: bool) -> None:
    """
    Raises:
        DataError: if the kernel, or each layer's, does not fit in the free memory.
    """
    outputs, per_example, item, layers = footprint(request.model, x1, request.names, request.method)
    kernels = layers if per_layer else 1
    n, m = len(x1), len(x1 if x2 is None else x2)
    entries = {"full": n * m * outputs**2, "diag": n * outputs}.get(request.mode, n * m)
    beside = (n if x2 is None else n + m) * per_example
    refuse_beyond_memory(entries * kernels * item, beside * item, x1.device)


def _on_disk(
    request: Request,
    x1: Tensor,
    x2: Tensor | None,
    tile_bytes: int,
    out: Path,
    engine: str | Mapping[str, Any] | None,
) -> xr.DataArray:
    from clntk.kernels import write  # brings Zarr, which few need
    from clntk.kernels.patches import Patches
    from clntk.kernels.tiling import Tiling

    with full_precision():
        outputs, per_example, item, _ = footprint(request.model, x1, request.names, request.method)
    m = len(x1 if x2 is None else x2)
    full = request.mode == "full"
    tiling = Tiling.of(
        len(x1),
        m,
        outputs if full else 1,
        item,
        tile_bytes,
        layout=request.layout if full else "nm",
        symmetric=x2 is None,
    )
    kept = max(2, 4 * tile_bytes // (tiling.side * per_example * item))
    identity = write.identity_of(request.model, x1, x2, request.mode, tiling.layout, ",".join(request.names))
    patches = Patches(request, x1, x2, kept)
    return write.write(out, tiling, np.dtype(f"f{item}"), identity, patches, engine)


def _diagonals(found: Shares, per_layer: bool) -> Tensor | dict[str, Tensor]:
    zero = torch.zeros(())
    parts = {name: sum((squared_norms(group) for group in groups), zero) for name, groups in found.items()}
    return parts if per_layer else sum(parts.values(), zero)
