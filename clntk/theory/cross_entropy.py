"""Gradient flow on the cross-entropy, which has no closed form: the equation of outputs, integrated."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import softmax

from clntk.errors import ClntkError, DataError
from clntk.theory.blocks import Block, outputs_on
from clntk.theory.dynamics import Fit
from clntk.theory.schedules import GradientFlow
from clntk.theory.spectrum import Spectrum


def cross_entropy_flow(
    kernel: Any,
    labels: Any,
    flow: GradientFlow,
    *,
    start: Any,
    test_kernel: Any = None,
    test_start: Any = None,
    head: Any = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> Fit:
    """Outputs at any finite time of gradient flow on the cross-entropy, under a kernel that does not move.

    df/dt = −K (softmax(f) − onehot(y)), for the sum over examples, or a 1/N of it for their mean. What is integrated is
    a = ∫ (onehot − softmax) dt, which has N · C numbers however many test examples there are: f = f₀ + K(·, X) a.

    Args:
        kernel: of the N training examples: (N, C, N, C), or (N, N) for K ⊗ I_C.
        labels: class indices, (N).
        flow: the times, all finite.
        start: f₀ on the training examples, (N, C).
        test_kernel: of M further examples with the training examples: (M, C, N, C) or (M, N).
        test_start: f₀ on these, (M, C); by default 0.
        head: the outputs that take part in the softmax, (C) of booleans; by default all.
        rtol, atol: relative and absolute tolerance of the integral.

    Raises:
        DataError: for shapes that do not fit, labels outside the head, infinite times (outputs grow for ever), and
            kernels as of :func:`~clntk.theory.dynamics.kernel_dynamics`.
        ClntkError: if the integration fails.

    Source: Lee et al. 2019, arXiv 1902.06720, eq. (5), with the gradient of the cross-entropy.
    """
    own = Block.of(kernel, "kernel")
    f0 = outputs_on(start, own.examples[0], own.outputs, "start")
    Spectrum.of(own, "kernel")  # refuses what is no kernel
    if not np.isfinite(flow.moments).all():
        raise DataError(
            f"cross_entropy_flow: expected finite times, found {flow.times}; under this loss outputs grow for ever"
        )
    field = _Field(own, f0, _one_hot(labels, f0.shape, head), _head(head, f0.shape[1]))
    times, order = np.unique(flow.moments / (len(f0) if flow.loss == "mean" else 1), return_inverse=True)
    integral = _integrated(field, times, rtol, atol)[order]
    train = f0 + field.moved(own, integral)
    if test_kernel is None:
        return Fit(train)
    cross = Block.of(test_kernel, "test_kernel")
    cross.check_like(own, "test_kernel")
    other = outputs_on(test_start, cross.examples[0], f0.shape[1], "test_start")
    return Fit(train, other + field.moved(cross, integral))


@dataclass(frozen=True)
class _Field:
    """da/dt = onehot − softmax(f₀ + K a), with a (N, C) as one vector."""

    kernel: Block
    start: np.ndarray
    one_hot: np.ndarray
    head: np.ndarray

    def moved(self, kernel: Block, a: np.ndarray) -> np.ndarray:
        """K a for a (T, N · C): (T, M, C)."""
        c = self.start.shape[1]
        rows = a.reshape(len(a), -1, 1) if kernel.outputs else a.reshape(len(a), -1, c)
        return (kernel.matrix @ rows).reshape(len(a), -1, c)

    def probabilities(self, a: np.ndarray) -> np.ndarray:
        f = self.start + self.moved(self.kernel, a[None])[0]
        return softmax(np.where(self.head, f, -np.inf), axis=1)

    def __call__(self, _time: float, a: np.ndarray) -> np.ndarray:
        return (self.one_hot - self.probabilities(a)).ravel()

    def jacobian(self, _time: float, a: np.ndarray) -> np.ndarray:
        """−(diag p − p pᵀ) K, example by example of the left factor: (N · C, N · C)."""
        n, c = self.start.shape
        p = self.probabilities(a)[:, :, None]
        full = self.kernel.matrix if self.kernel.outputs else np.kron(self.kernel.matrix, np.eye(c))
        rows = full.reshape(n, c, n * c)
        return -(p * (rows - (p * rows).sum(axis=1, keepdims=True))).reshape(n * c, n * c)


def _integrated(field: _Field, times: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    """a at rising times: (T, N · C)."""
    nothing = np.zeros(field.start.size)
    if times[-1] == 0:
        return nothing[None]
    found = solve_ivp(
        field,
        (0.0, float(times[-1])),
        nothing,
        method="LSODA",  # stiff in the directions of large eigenvalues, and smooth in all: it changes method by itself
        t_eval=times,
        jac=field.jacobian,
        rtol=rtol,
        atol=atol,
    )
    if not found.success:
        raise ClntkError(
            f"cross_entropy_flow: not integrated up to t = {times[-1]:g}: {found.message}; raise rtol or atol"
        )
    return found.y.T


def _head(head: Any, outputs: int) -> np.ndarray:
    inside = np.ones(outputs, bool) if head is None else np.asarray(head)
    if inside.shape != (outputs,) or inside.dtype != bool:
        raise DataError(f"head: expected {outputs} booleans, found {inside.dtype} of shape {inside.shape}")
    return inside


def _one_hot(labels: Any, shape: tuple[int, int], head: Any) -> np.ndarray:
    n, c = shape
    y = np.asarray(labels)
    if y.shape != (n,) or not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"labels: expected {n} class indices, found {y.dtype} of shape {y.shape}")
    if not np.isin(y, np.flatnonzero(_head(head, c))).all():
        raise DataError(
            f"labels: expected indices of outputs in the head, of {c}, found {sorted(set(y.tolist()))}"
        )
    return np.eye(c)[y]
