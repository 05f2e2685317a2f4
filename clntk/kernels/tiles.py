"""Which part of a symmetric kernel is computed, and how the rest is filled from it.

A full kernel is held as (C, N, D, M), output first: read as a matrix of C · N rows, one pair of outputs is a block in
which all pairs of examples lie together. Of a symmetric matrix every contraction fills at least the lower triangle,
each in row blocks of its own; :func:`mirror` writes the upper one.
"""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

MIRROR = 512  # rows of a tile that is transposed at once


def row_blocks(rows: int, columns: int, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    """Row blocks of a matrix and the columns that each needs: all of them, or those up to the diagonal."""
    n_blocks = max(1, min(8, rows // 64)) if symmetric else 1
    edges = [round(i * rows / n_blocks) for i in range(n_blocks + 1)]
    for start, stop in pairwise(edges):
        yield slice(start, stop), slice(stop if symmetric else columns)


def output_blocks(
    shape: tuple[int, ...], symmetric: bool, step: int
) -> Iterator[tuple[int, slice, slice, slice]]:
    """Output c, at most ``step`` of its examples, and the outputs d and examples m to pair them with."""
    n_outputs, n, n_others, m = shape
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        for c in range(n_outputs):
            if not symmetric:
                yield c, rows, slice(n_others), slice(m)
                continue
            if c:
                yield c, rows, slice(c), slice(m)
            yield c, rows, slice(c, c + 1), slice(rows.stop)


def mirror(kernel: Tensor) -> None:
    """Fill the upper triangle of a symmetric kernel, (N, N) or (C, N, C, N), from the lower one, in place."""
    matrix = kernel if kernel.ndim == 2 else kernel.flatten(2).flatten(0, 1)
    for start in range(0, len(matrix), MIRROR):
        rows = slice(start, start + MIRROR)
        tile = matrix[rows, rows]
        tile.copy_(tile.tril() + tile.tril(-1).T)
        for left in range(0, start, MIRROR):
            columns = slice(left, left + MIRROR)
            matrix[columns, rows].copy_(matrix[rows, columns].T)
