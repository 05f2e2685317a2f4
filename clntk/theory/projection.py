"""What is left of a kernel once no step may move along stored gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh

from clntk.errors import DataError
from clntk.theory.blocks import array

NEGLIGIBLE = 1e-10  # of the largest eigenvalue: what is below, beside what is stored already, is rounding


@dataclass(frozen=True)
class StoredGradients:
    """What orthogonal gradient descent stores of every task it has learned.

    Args:
        rows: for each task, which gradients are stored: indices n · C + c of logits under a full kernel, of examples
            under K ⊗ I_C, which stores all of their logits; by default all.
        directions: PCA-OGD: the leading principal directions of these, at most so many a task (times C under
            K ⊗ I_C), not centred; by default all, which is OGD.

    Source: Farajtabar et al. 2020, arXiv 1910.07104 (OGD); Doan et al. 2021, arXiv 2010.04003, section 5 (PCA-OGD).
    """

    rows: Sequence[Sequence[int]] | None = None
    directions: int | None = None

    def __post_init__(self) -> None:
        if self.directions is not None and self.directions < 1:
            raise DataError(f"StoredGradients.directions: expected at least 1, found {self.directions}")

    def combinations(self, kernel: np.ndarray, task: int) -> np.ndarray:
        """The directions stored of a task as combinations of its rows' gradients: (R, directions).

        Args:
            kernel: of the task's training examples, (R, R).
            task: its place in the sequence.

        Raises:
            DataError: for rows that the task does not have.
        """
        size = len(kernel)
        if self.rows is not None and task >= len(self.rows):
            raise DataError(
                f"StoredGradients.rows: expected rows of every task, found them of {len(self.rows)}; add more"
            )
        rows = np.arange(size) if self.rows is None else np.asarray(self.rows[task], int)
        if rows.size and (rows.min() < 0 or rows.max() >= size):
            raise DataError(
                f"StoredGradients.rows[{task}]: expected indices from 0 to {size - 1}, found "
                f"{rows.min()} to {rows.max()}"
            )
        chosen = np.eye(size)[:, rows]
        if self.directions is None or not rows.size:
            return chosen
        values, vectors = eigh(kernel[np.ix_(rows, rows)])
        kept = values > NEGLIGIBLE * values[-1]
        return chosen @ vectors[:, kept][:, -self.directions :]


def left_over(kernel: np.ndarray, train: np.ndarray, combinations: np.ndarray) -> np.ndarray:
    """K(x, x') − K(x, D) K(D, D)⁺ K(D, x'): the kernel of steps orthogonal to directions D.

    Args:
        kernel: of any examples (rows) with the training examples, (A, R).
        train: of the training examples with themselves, (R, R).
        combinations: D, as combinations of the training examples' gradients, (R, directions).

    Returns:
        (A, R); 0 to rounding in the rows and columns of what is stored.

    Source: the effective kernel of Bennani et al. 2020, arXiv 2006.11942, theorem 2.
    """
    if not combinations.shape[1]:
        return kernel
    among = combinations.T @ train @ combinations
    scale = np.sqrt(np.maximum(np.diagonal(among), np.finfo(float).tiny))
    values, vectors = eigh(
        among / np.outer(scale, scale)
    )  # of directions of length 1, so that none counts for less
    kept = values > NEGLIGIBLE * values[-1]
    basis = (combinations / scale) @ (vectors[:, kept] / np.sqrt(values[kept]))
    return kernel - (kernel @ basis) @ (train @ basis).T


def project_out(features: Any, stored: Any) -> np.ndarray:
    """Gradient features without their part in the span of stored ones: the features of the effective kernel.

    Args:
        features: Jacobian rows, (R, P).
        stored: rows that no step may move along, (directions, P).

    Returns:
        (R, P); their products are the kernel of :func:`left_over`.

    Raises:
        DataError: for features of unequal length.
    """
    rows, directions = array(features, "features"), array(stored, "stored")
    if rows.ndim != 2 or directions.ndim != 2 or rows.shape[1] != directions.shape[1]:
        raise DataError(
            f"stored: expected rows as long as the features, of shape {rows.shape}, found {directions.shape}"
        )
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    _, sizes, basis = np.linalg.svd(directions / np.where(lengths > 0, lengths, 1.0), full_matrices=False)
    basis = basis[sizes > np.sqrt(NEGLIGIBLE) * max(sizes[0], np.finfo(float).tiny)]
    return rows - (rows @ basis.T) @ basis
