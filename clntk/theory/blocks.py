"""Kernels and outputs as the matrices that closed forms are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clntk.errors import DataError


def plain(values: Any) -> np.ndarray:
    """An array, of torch tensors too, in the type that they have."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def array(values: Any, where: str) -> np.ndarray:
    """Finite numbers in float64: a copy.

    Raises:
        DataError: for NaN or infinite values.
    """
    out = np.array(plain(values), dtype=np.float64)
    if not np.isfinite(out).all():
        bad = int((~np.isfinite(out)).sum())
        raise DataError(
            f"{where}: expected finite numbers, found {bad} of {out.size} that are NaN or infinite"
        )
    return out


def rounding(values: Any) -> float:
    """The relative spacing of numbers of the type that values came in."""
    kind = plain(values).dtype
    return float(np.finfo(kind if np.issubdtype(kind, np.floating) else np.float64).eps)


def refuse_negative(value: float, where: str) -> None:
    """
    Raises:
        DataError: for a number that is negative or not finite.
    """
    if not 0 <= value < np.inf:
        raise DataError(f"{where}: expected a finite number of at least 0, found {value}")


@dataclass(frozen=True)
class Block:
    """A kernel between two sets of examples.

    Args:
        matrix: (N · C, M · C) of a full kernel, ordered as (n, c); or (N, M).
        outputs: C of a full kernel; None for K ⊗ I_C.
        eps: the rounding that its entries come with, relative to their size.
    """

    matrix: np.ndarray
    outputs: int | None
    eps: float

    @classmethod
    def of(cls, kernel: Any, where: str) -> "Block":
        """The block of a kernel of shape (N, C, M, C) or (N, M).

        Raises:
            DataError: for another shape, or entries that are not finite.
        """
        values = array(kernel, where)
        full = values.ndim == 4 and values.shape[1] == values.shape[3]
        if not (full or values.ndim == 2) or 0 in values.shape:
            raise DataError(
                f"{where}: expected a kernel of shape (N, C, M, C) or (N, M), found {values.shape}; neither has a side "
                "of length 0"
            )
        if not full:
            return cls(values, None, rounding(kernel))
        n, c, m, _ = values.shape
        return cls(values.reshape(n * c, m * c), c, rounding(kernel))

    @property
    def examples(self) -> tuple[int, int]:
        """N and M."""
        rows, columns = self.matrix.shape
        return rows // (self.outputs or 1), columns // (self.outputs or 1)

    def fold(self, f: np.ndarray) -> np.ndarray:
        """Outputs (N, C) as what the matrix multiplies: (N · C, 1) or (N, C)."""
        return f if self.outputs is None else f.reshape(-1, 1)

    def check_like(self, other: "Block", where: str) -> None:
        """
        Raises:
            DataError: if the columns of this block are not the rows of the other.
        """
        if self.outputs != other.outputs or self.examples[1] != other.examples[0]:
            expected = f"(M, {_sides(other)[0]})" if other.outputs is None else f"(M, C, {_sides(other)[0]})"
            raise DataError(
                f"{where}: expected a kernel {expected} with the training examples on its second side, found "
                f"{self.examples[0]} examples by {self.examples[1]}, {_outputs(self)}, beside {_outputs(other)}"
            )


def outputs_on(values: Any, examples: int, outputs: int | None, where: str) -> np.ndarray:
    """Values (examples, C), or zeros where there are none and C is known.

    Raises:
        DataError: for another shape.
    """
    if values is None and outputs is not None:
        return np.zeros((examples, outputs))
    found = array(values, where)
    if found.ndim != 2 or len(found) != examples or (outputs is not None and found.shape[1] != outputs):
        columns = "C" if outputs is None else outputs
        raise DataError(
            f"{where}: expected values of shape ({examples}, {columns}), found {found.shape}; a single output is (N, 1)"
        )
    return found


def join_blocks(blocks: Sequence[Sequence[Any]]) -> np.ndarray:
    """The kernel of all tasks' examples together from its blocks K_st.

    Args:
        blocks: rows of blocks, each (N_s, N_t) or (N_s, C, N_t, C).

    Returns:
        (N, N') or (N, C, N', C), in the type of the blocks.

    Raises:
        DataError: for blocks that do not fit together.
    """
    rows = [[plain(block) for block in row] for row in blocks]
    try:
        return np.concatenate([np.concatenate(row, axis=row[0].ndim // 2) for row in rows])
    except (ValueError, IndexError) as error:
        shapes = [[b.shape for b in row] for row in rows]
        raise DataError(
            f"blocks: expected blocks that fit together, (N_s, N_t) or (N_s, C, N_t, C), found shapes {shapes}"
        ) from error


def _sides(block: Block) -> tuple[str, str]:
    n, m = block.examples
    return (str(n), str(m)) if block.outputs is None else (f"{n}, {block.outputs}", f"{m}, {block.outputs}")


def _outputs(block: Block) -> str:
    return "as K ⊗ I" if block.outputs is None else f"full, of {block.outputs} outputs"
