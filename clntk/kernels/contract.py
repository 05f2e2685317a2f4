"""From shares of the Jacobian to shares of the kernel, each by the cheapest contraction.

The full kernel is held as (C, N, C, M): for one pair of outputs all pairs of examples lie together, so that the Gram
matrix of the inputs multiplies contiguous rows, and a symmetric kernel needs only the output pairs with d ≤ c.
"""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from clntk.kernels.groups import Direct, Group, Outer

Mode = Literal["full", "trace"]
Method = Literal["readout", "gram", "positions", "jacobian"]
BLOCK_BYTES = 8 * 2**20  # of an intermediate block: it should stay in cache


def add_share(kernel: Tensor, left: Group, right: Group, *, mode: Mode, symmetric: bool) -> None:
    """Add ⟨J_left, J_right⟩ of one group of parameters to a kernel, in place.

    Args:
        kernel: (N, M) for ``trace``, (C, N, C, M) for ``full``; contiguous.
        left, right: the group on both sides.
        mode: what the kernel holds.
        symmetric: both sides are the same examples; of a full kernel only d ≤ c is then filled (see :func:`mirror`).
    """
    if isinstance(left, Outer):
        method = cheapest(left, right, mode)
        if method == "readout":
            return _readout(kernel, left, right, mode)
        if method == "gram":
            return _gram(kernel, left, right, mode, symmetric)
        if method == "positions":
            return _positions(kernel, left, right, mode, symmetric)
        left, right = left.written_out(), right.written_out()
    return _direct(kernel, left, right, mode, symmetric)


def cheapest(left: Outer, right: Outer, mode: Mode) -> Method:
    """The contraction with the fewest multiplications."""
    c, n, t, b = left.grads.shape
    m, s, a = right.inputs.shape
    if left.is_readout and right.is_readout:
        return "readout"
    costs = multiplications(n=n, m=m, t=t, s=s, a=a, b=b, c=c, mode=mode)
    return min(costs, key=costs.__getitem__)


def multiplications(
    *, n: int, m: int, t: int, s: int, a: int, b: int, c: int, mode: Mode
) -> dict[Method, int]:
    """What each contraction of a group of outer products costs, without the saving of symmetry.

    Args:
        n, m: examples on both sides.
        t, s: positions on both sides.
        a, b: sizes of inputs and gradients.
        c: outputs.
        mode: what the kernel holds.
    """
    outputs = c if mode == "trace" else c * c
    if t == s == 1:
        return {"gram": n * m * (a + outputs * (b + 1))}
    return {
        "positions": n * m * t * s * (a + outputs * (b + 1)),
        "jacobian": (n * t + m * s) * c * a * b + n * m * outputs * a * b,
    }


def _readout(kernel: Tensor, left: Outer, right: Outer, mode: Mode) -> None:
    """G is the identity: ⟨u_n, u_m⟩ on equal outputs, nothing between different ones."""
    gram = left.inputs[:, 0] @ right.inputs[:, 0].T
    if mode == "trace":
        kernel.add_(gram, alpha=len(left.grads))
    else:
        kernel.diagonal(dim1=0, dim2=2).add_(gram[:, :, None])


def _gram(kernel: Tensor, left: Outer, right: Outer, mode: Mode, symmetric: bool) -> None:
    """One position: ⟨u_n, u_m⟩ · ⟨g_cn, g_dm⟩."""
    inputs = left.inputs[:, 0] @ right.inputs[:, 0].T
    g, h = left.grads[:, :, 0], right.grads[:, :, 0]
    if mode == "trace":
        kernel.addcmul_(inputs, g.transpose(0, 1).flatten(1) @ h.transpose(0, 1).flatten(1).T)
        return
    for c, rows, outputs in _blocks(kernel, symmetric):
        grads = (g[c, rows] @ h[:outputs].flatten(0, 1).T).view(-1, outputs, kernel.shape[3])
        kernel[c, rows, :outputs].addcmul_(grads, inputs[rows, None])


def _positions(kernel: Tensor, left: Outer, right: Outer, mode: Mode, symmetric: bool) -> None:
    """Few positions: Σ_ts ⟨u_nt, u_ms⟩ · ⟨g_cnt, g_dms⟩, example by example of the left side."""
    m, s, _a = right.inputs.shape
    flat = right.inputs.flatten(0, 1)
    for n in range(len(left.inputs)):
        inputs = left.inputs[n] @ flat.T  # (t, m · s)
        for c in range(len(left.grads)):
            outputs = range(c, c + 1) if mode == "trace" else range(c + 1 if symmetric else len(right.grads))
            for d in outputs:
                grads = left.grads[c, n] @ right.grads[d].flatten(0, 1).T
                share = (inputs * grads).view(-1, m, s).sum((0, 2))
                (kernel[n] if mode == "trace" else kernel[c, n, d]).add_(share)


def _direct(kernel: Tensor, left: Direct, right: Direct, mode: Mode, symmetric: bool) -> None:
    """⟨J_nc, J_md⟩, in blocks of examples of the left side, all outputs together."""
    j, k = left.jacobian, right.jacobian
    if mode == "trace":
        kernel.addmm_(j.flatten(1), k.flatten(1).T)
        return
    n, c, _ = j.shape
    m, d, _ = k.shape
    rows, columns = j.flatten(0, 1), k.flatten(0, 1)
    step = max(1, BLOCK_BYTES // (c * m * d * kernel.element_size()))
    for start in range(0, n, step):
        stop = min(start + step, n)
        block = (rows[start * c : stop * c] @ columns.T).view(stop - start, c, m, d)
        kernel[:, start:stop].add_(block.permute(1, 0, 3, 2))


def _blocks(kernel: Tensor, symmetric: bool) -> Iterator[tuple[int, slice, int]]:
    """Output c, a slice of its examples, and the number of outputs d to pair it with."""
    n_outputs, n, _, m = kernel.shape
    for c in range(n_outputs):
        outputs = c + 1 if symmetric else kernel.shape[2]
        step = max(1, BLOCK_BYTES // (outputs * m * kernel.element_size()))
        for start in range(0, n, step):
            yield c, slice(start, min(start + step, n)), outputs


def mirror(kernel: Tensor) -> None:
    """Fill the output pairs d > c of a symmetric full kernel from K[c,n,d,m] = K[d,m,c,n], in place."""
    for c in range(len(kernel)):
        for d in range(c):
            kernel[d, :, c].copy_(kernel[c, :, d].T)
