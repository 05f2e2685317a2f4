"""The empirical NTK as a linear operator: products, traces, eigenpairs and solves without ever forming the kernel."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg, eigsh
from torch import Tensor, nn

from clntk.errors import ClntkError, DataError
from clntk.kernels.arguments import parameter_names
from clntk.kernels.groups import Group, Outer, squared_norms
from clntk.kernels.precision import full_precision
from clntk.kernels.refuse import refuse
from clntk.kernels.route import shares


@dataclass(frozen=True)
class Estimate:
    """A number found by random probes, and its standard error."""

    value: float
    error: float


def ntk_operator(model: nn.Module, x: Tensor, *, params: Iterable[str] | None = None) -> "NTKOperator":
    """The NTK of a network on inputs ``x`` as an operator on vectors of length N · C, ordered as (n, c).

    One forward pass and C backward passes are done here; what is kept is each layer's factors, N · (a + C · b) numbers
    for a layer of a inputs and b outputs.

    Args:
        model: as for :func:`clntk.empirical_ntk`.
        x: N inputs.
        params: names of the parameters; by default all that require gradients.

    Raises:
        DataError: as :func:`clntk.empirical_ntk` does.
    """
    refuse(model, x)
    with full_precision():
        outputs, groups = shares(model, x, parameter_names(model, params))
    return NTKOperator([group for parts in groups.values() for group in parts], outputs)


class NTKOperator:
    """K = J Jᵀ through its factors; see :func:`ntk_operator`."""

    def __init__(self, groups: list[Group], outputs: Tensor) -> None:
        self.groups = groups
        self._factors = [_factors(group) for group in groups]
        self.n_examples, self.n_outputs = outputs.shape
        self.dtype, self.device = outputs.dtype, outputs.device

    @property
    def shape(self) -> tuple[int, int]:
        size = self.n_examples * self.n_outputs
        return size, size

    def matvec(self, v: Tensor) -> Tensor:
        """K v, for v of length N · C."""
        return self.matmat(v.reshape(-1, 1)).reshape(-1)

    def matmat(self, vectors: Tensor) -> Tensor:
        """K V, for V of shape (N · C, k).

        Raises:
            DataError: for vectors of another length.
        """
        if vectors.ndim != 2 or len(vectors) != self.shape[0]:
            raise DataError(
                f"ntk_operator: expected vectors of shape ({self.shape[0]}, k), found {tuple(vectors.shape)}"
            )
        v = vectors.to(self.dtype).view(self.n_examples, self.n_outputs, -1).permute(2, 1, 0)  # (k, C, N)
        out = torch.zeros_like(v)
        with full_precision():
            for factors in self._factors:
                for i in range(len(v)):
                    out[i] += _product(*factors, v[i])
        return out.permute(2, 1, 0).reshape(vectors.shape)

    def diagonal(self) -> Tensor:
        """K[n,c,n,c] as a vector of length N · C, exact."""
        with full_precision():
            zero = torch.zeros((), dtype=self.dtype, device=self.device)
            return sum((squared_norms(group) for group in self.groups), zero).reshape(-1)

    def trace(self) -> float:
        """The sum of all eigenvalues, exact."""
        return float(self.diagonal().sum())

    def frobenius_norm(self, *, n_probes: int = 100, seed: int = 0) -> Estimate:
        """‖K‖_F by ‖K z‖² = ‖K‖_F² on average over random signs z.

        Args:
            n_probes: number of probes; the standard error falls as their inverse square root.
            seed: of the probes.

        Source: Hutchinson 1990, doi 10.1080/03610919008812866.
        """
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (self.shape[0], n_probes), generator=generator) * 2 - 1
        squares = self.matmat(signs.to(self.device, self.dtype)).double().square().sum(0)
        norm = squares.mean().sqrt()
        error = squares.std() / n_probes**0.5 / (2 * norm)  # of a square root, to first order
        return Estimate(float(norm), float(error))

    def top_eigenpairs(self, k: int = 10) -> tuple[Tensor, Tensor]:
        """The k largest eigenvalues, falling, and their eigenvectors (N · C, k), by Lanczos.

        Raises:
            DataError: for k that is not between 1 and N · C − 1.
        """
        if not 1 <= k < self.shape[0]:
            raise DataError(f"ntk_operator: expected k between 1 and {self.shape[0] - 1}, found {k}")
        start = np.random.default_rng(0).standard_normal(self.shape[0])
        values, vectors = eigsh(self.as_scipy(), k=k, v0=start)
        order = np.argsort(values)[::-1]
        return self._tensor(values[order]), self._tensor(vectors[:, order])

    def solve(self, y: Tensor, *, ridge: float, rtol: float = 1e-6, max_steps: int | None = None) -> Tensor:
        """α with (K + λI) α = y, by conjugate gradients: the weights of kernel regression.

        Args:
            y: targets of length N · C, or (N, C).
            ridge: λ ≥ 0.
            rtol: the residual to reach, relative to ‖y‖.
            max_steps: iterations allowed; by default 10 · N · C.

        Returns:
            α in the shape of ``y``.

        Raises:
            DataError: for a negative ridge.
            ClntkError: if the residual is not reached.
        """
        if ridge < 0:
            raise DataError(f"ntk_operator.solve: expected ridge of at least 0, found {ridge}")
        target = y.reshape(-1).to(self.dtype).cpu().numpy()
        plain = self.as_scipy()
        system = LinearOperator(self.shape, matvec=lambda v: plain.matvec(v) + ridge * v, dtype=plain.dtype)
        alpha, failed = cg(system, target, rtol=rtol, maxiter=max_steps)
        if failed:
            raise ClntkError(
                f"ntk_operator.solve: residual {rtol} not reached in {failed} steps; the kernel is ill-conditioned: "
                "raise ridge or rtol, or work in float64"
            )
        return self._tensor(alpha).reshape(y.shape)

    def as_scipy(self) -> LinearOperator:
        """The operator for SciPy's solvers."""
        dtype = np.float64 if self.dtype == torch.float64 else np.float32

        def product(v: np.ndarray) -> np.ndarray:
            return self.matmat(self._tensor(v.reshape(self.shape[0], -1))).cpu().numpy()

        def single(v: np.ndarray) -> np.ndarray:
            return product(v).reshape(-1)

        return LinearOperator(
            self.shape, matvec=single, rmatvec=single, matmat=product, rmatmat=product, dtype=dtype
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=self.dtype, device=self.device)


def _factors(group: Group) -> tuple[Tensor | None, Tensor]:
    """Inputs and gradients of a group, in one piece each; or none and its Jacobian."""
    return (group.inputs, group.stacked()) if isinstance(group, Outer) else (None, group.jacobian)


def _product(inputs: Tensor | None, grads: Tensor, v: Tensor) -> Tensor:
    """J Jᵀ v for one group and v (C, N): first the weights that Jᵀ v moves, then what moving them does."""
    if inputs is None:
        rows = grads.flatten(0, 1)
        return (rows @ (rows.T @ v.reshape(-1))).view(v.shape)
    flat = inputs.flatten(0, 1)
    moved = torch.einsum("cn,cntb->ntb", v, grads).flatten(0, 1).T @ flat  # (b, a)
    response = (flat @ moved.T).view(*inputs.shape[:2], -1)
    return torch.einsum("cntb,ntb->cn", grads, response)
