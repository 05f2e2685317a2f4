"""From shares of the Jacobian to shares of the kernel, each by the cheapest contraction."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from clntk.kernels import separable
from clntk.kernels.allocate import empty, zeros
from clntk.kernels.costs import Method, Mode, cheapest
from clntk.kernels.groups import Direct, Group, Outer, outputs_and_examples
from clntk.kernels.tiles import mirror, output_blocks, row_blocks

BLOCK_BYTES = 32 * 2**20  # of an intermediate block: it should stay in cache


def contracted(
    left: list[Group],
    right: list[Group],
    *,
    mode: Mode,
    symmetric: bool,
    method: Method = "auto",
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """The kernel of all groups together, (N, M) for ``trace`` or (C, N, C, M) for ``full``.

    Args:
        left, right: the same groups on both sides, in the same order.
        mode, symmetric, method, block_bytes: as for :func:`add_share`.
    """
    left, right = _merged(left), _merged(right)
    (c, n), m = outputs_and_examples(left[0]), outputs_and_examples(right[0])[1]
    like = left[0].inputs if isinstance(left[0], Outer) else left[0].jacobian
    kernel = zeros((c, n, c, m) if mode == "full" else (n, m), like)
    for one, other in zip(left, right, strict=True):
        add_share(kernel, one, other, mode=mode, symmetric=symmetric, method=method, block_bytes=block_bytes)
    if symmetric:
        mirror(kernel)
    return kernel


def _merged(groups: list[Group]) -> list[Group]:
    """The same groups, with all written-out ones as one: one product rather than many thin ones."""
    direct = [group.jacobian for group in groups if isinstance(group, Direct)]
    outer: list[Group] = [group for group in groups if isinstance(group, Outer)]
    return [*outer, Direct(torch.cat(direct, dim=2))] if direct else outer


def add_share(
    kernel: Tensor,
    left: Group,
    right: Group,
    *,
    mode: Mode,
    symmetric: bool,
    method: Method = "auto",
    block_bytes: int = BLOCK_BYTES,
) -> None:
    """Add ⟨J_left, J_right⟩ of one group of parameters to a kernel, in place.

    Args:
        kernel: (N, M) for ``trace``, (C, N, C, M) for ``full``; contiguous.
        left, right: the group on both sides.
        mode: what the kernel holds.
        symmetric: both sides are the same; the upper triangle is then left to :func:`clntk.kernels.tiles.mirror`.
        method: which ways are allowed.
        block_bytes: bound of the intermediate blocks, as far as the shapes allow.
    """
    if isinstance(left, Direct):
        assert isinstance(right, Direct)  # one group is of one kind
        return _accumulate(kernel, left.jacobian, right.jacobian, mode, symmetric)
    assert isinstance(right, Outer)
    way = cheapest(left, right, mode, method)
    if way == "separable":
        one = separable.parts(left)
        other = one if symmetric or one is None else separable.parts(right)
        if one is None or other is None:  # not to rounding, for these examples
            left, right = replace(left, readout=None), replace(right, readout=None)
        elif mode == "full":
            return separable.add_full(kernel, one, other, block_bytes)
        else:
            left, right = one.as_one_output(), other.as_one_output()
        way = cheapest(left, right, mode, method)
    if way == "readout":
        return _readout(kernel, left, right, mode)
    if way == "jacobian":
        for j, k in _written(left, right, symmetric, block_bytes):
            _accumulate(kernel, j, k, mode, symmetric)
        return None
    add = {"gram": (_gram_trace, _gram), "positions": (_positions_trace, _positions)}[way][mode == "full"]
    return add(kernel, left, right, symmetric, block_bytes)


def _readout(kernel: Tensor, left: Outer, right: Outer, mode: Mode) -> None:
    """G is the identity: ⟨u_n, u_m⟩ on equal outputs, nothing between different ones."""
    gram = left.inputs[:, 0] @ right.inputs[:, 0].T
    if mode == "trace":
        kernel.add_(gram, alpha=len(left.grads))
    else:
        kernel.diagonal(dim1=0, dim2=2).add_(gram[:, :, None])


def _gram(kernel: Tensor, left: Outer, right: Outer, symmetric: bool, block_bytes: int) -> None:
    """One position: ⟨u_n, u_m⟩ · ⟨g_cn, g_dm⟩."""
    inputs = left.inputs[:, 0] @ right.inputs[:, 0].T
    g = left.stacked()[:, :, 0]
    h = g if symmetric else right.stacked()[:, :, 0]
    step = max(1, block_bytes // (kernel[0, 0].numel() * kernel.element_size()))
    for c, rows, outputs, columns in output_blocks(kernel.shape, symmetric, step):
        others = h[outputs, columns]
        grads = (g[c, rows] @ others.flatten(0, 1).T).view(-1, *others.shape[:2])
        kernel[c, rows, outputs, columns].addcmul_(grads, inputs[rows, None, columns])


def _gram_trace(kernel: Tensor, left: Outer, right: Outer, symmetric: bool, block_bytes: int) -> None:
    u, v = left.inputs[:, 0], right.inputs[:, 0]
    for rows, columns in row_blocks(len(kernel), kernel.shape[1], symmetric):
        grads = torch.zeros_like(kernel[rows, columns])
        for g, h in zip(left.grads, right.grads, strict=True):
            grads.addmm_(g[rows, 0], h[columns, 0].T)
        kernel[rows, columns].addcmul_(u[rows] @ v[columns].T, grads)


def _positions(kernel: Tensor, left: Outer, right: Outer, symmetric: bool, block_bytes: int) -> None:
    """Few positions: Σ_ts ⟨u_nt, u_ms⟩ · ⟨g_cnt, g_dms⟩."""
    (_, _, t, _, _), (d, m, s, _, _) = left.sizes, right.sizes
    g = left.stacked()
    h = g if symmetric else right.stacked()
    step = max(1, block_bytes // (t * d * m * s * kernel.element_size()))
    inputs: Tensor | None = None
    of: slice | None = None
    for c, rows, outputs, columns in output_blocks(kernel.shape, symmetric, step):
        if inputs is None or of != rows:
            inputs, of = _position_gram(left.inputs[rows], right.inputs), rows
        for k in range(d)[outputs]:
            grads = _position_gram(g[c, rows], h[k, columns])
            kernel[c, rows, k, columns].add_(grads.mul_(inputs[:, :, columns]).sum((1, 3)))


def _positions_trace(kernel: Tensor, left: Outer, right: Outer, symmetric: bool, block_bytes: int) -> None:
    (_, n, t, _, _), (_, m, s, _, _) = left.sizes, right.sizes
    step = max(1, block_bytes // (t * m * s * kernel.element_size()))
    for _, rows, _, columns in output_blocks((1, n, 1, m), symmetric, step):
        inputs = _position_gram(left.inputs[rows], right.inputs[columns])
        grads = torch.zeros_like(inputs)
        for g, h in zip(left.grads, right.grads, strict=True):
            grads += _position_gram(g[rows], h[columns])
        kernel[rows, columns].add_(inputs.mul_(grads).sum((1, 3)))


def _position_gram(left: Tensor, right: Tensor) -> Tensor:
    """(N, T, k) and (M, S, k) → inner products (N, T, M, S)."""
    gram = left.flatten(0, 1) @ right.flatten(0, 1).T
    return gram.view(*left.shape[:2], *right.shape[:2])


def _written(left: Outer, right: Outer, symmetric: bool, block_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The Jacobians of both sides, a rectangle of the weights at a time, in buffers that are used again."""
    c, n, _, a, b = left.sizes
    most = max(n, right.sizes[1])
    held = max(1, block_bytes // (c * most * left.inputs.element_size()))  # weights at a time
    width = min(a, max(1, held // b), held)
    height = min(b, max(1, held // width))
    buffers = [empty((c * most * width * height,), left.inputs) for _ in range(1 if symmetric else 2)]
    for top in range(0, b, height):
        for start in range(0, a, width):
            where = slice(top, top + height), slice(start, start + width)
            one = left.write(*where, buffers[0])
            yield one, one if symmetric else right.write(*where, buffers[1])


def _accumulate(kernel: Tensor, left: Tensor, right: Tensor, mode: Mode, symmetric: bool) -> None:
    """Add ⟨J_cn, J_dm⟩, of (C, N, parameters) on both sides."""
    if mode == "full":
        kernel, left, right = (
            kernel.flatten(2).flatten(0, 1),
            left.flatten(0, 1)[None],
            right.flatten(0, 1)[None],
        )
    for rows, columns in row_blocks(len(kernel), kernel.shape[1], symmetric):
        for j, k in zip(left, right, strict=True):
            kernel[rows, columns].addmm_(j[rows], k[columns].T)
