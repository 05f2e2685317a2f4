"""The eigenvalues and eigenvectors of a kernel, of which every closed form is a function."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from clntk.errors import DataError
from clntk.theory.blocks import Block, refuse_negative


@dataclass(frozen=True)
class Spectrum:
    """K = V Λ Vᵀ of a symmetric kernel without negative eigenvalues.

    Args:
        values: rising, at least 0; those that are zero to rounding are exactly 0.
        vectors: V, one eigenvector a column.
        zero_below: the size up to which an eigenvalue is zero to rounding.
    """

    values: np.ndarray
    vectors: np.ndarray
    zero_below: float

    @classmethod
    def of(cls, kernel: Block, where: str, *, jitter: float = 0.0, zero_below: float = 0.0) -> "Spectrum":
        """The spectrum of a kernel of some examples with themselves.

        An eigenvalue is zero to rounding where its size is at most R ε λ_max, with R rows and the ε of the kernel's
        numeric type, as for the rank of a matrix.

        Args:
            kernel: of a set of examples with itself.
            where: its name, for errors.
            jitter: added to the diagonal; nothing is, unless asked.
            zero_below: eigenvalues up to here are zero to rounding in any case.

        Raises:
            DataError: if the kernel is not square, not symmetric, or has negative eigenvalues beyond rounding.
        """
        refuse_negative(jitter, f"{where}, jitter")
        matrix = kernel.matrix
        size = len(matrix)
        if matrix.shape != (size, size):
            raise DataError(f"{where}: expected as many rows as columns, found {matrix.shape}")
        skew, largest = np.abs(matrix - matrix.T).max(), np.abs(matrix).max()
        if skew > size * kernel.eps * largest:
            raise DataError(
                f"{where}: expected a symmetric kernel, found entries that differ from their mirror image by "
                f"{skew:.3g}, beside a largest of {largest:.3g}; is it of the training examples with themselves?"
            )
        values, vectors = eigh((matrix + matrix.T) / 2)
        values = values + jitter
        zero_below = max(size * kernel.eps * float(np.abs(values).max()), zero_below)
        if values[0] < -zero_below:
            raise DataError(
                f"{where}: expected a kernel without negative eigenvalues, found {values[0]:.3g}, beside a largest of "
                f"{values[-1]:.3g} and a rounding of {zero_below:.3g}; compute it in float64, or ask for jitter of at "
                f"least {jitter - values[0]:.3g}"
            )
        return cls(np.where(values > zero_below, values, 0.0), vectors, zero_below)

    @property
    def largest(self) -> float:
        return float(self.values[-1])

    @property
    def n_zero(self) -> int:
        """How many eigenvalues are zero to rounding."""
        return int((self.values == 0).sum())

    def apply(self, gains: np.ndarray, values: np.ndarray) -> np.ndarray:
        """V diag(g) Vᵀ v: gains (…, R) and v (R, k) give (…, R, k)."""
        return self.vectors @ (gains[..., None] * (self.vectors.T @ values))

    def matrix(self, gains: np.ndarray) -> np.ndarray:
        """V diag(g) Vᵀ: gains (…, R) give (…, R, R)."""
        return (self.vectors * gains[..., None, :]) @ self.vectors.T
