"""Outputs under a kernel that does not move, at any time of training on the squared error."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clntk.theory.blocks import Block, outputs_on, refuse_negative
from clntk.theory.schedules import GradientFlow, Schedule, Singular
from clntk.theory.spectrum import Spectrum


@dataclass(frozen=True)
class Fit:
    """Outputs on the training examples, and on others.

    Args:
        train: (T, N, C) at T moments; (N, C) where there is one alone.
        test: (T, M, C) or (M, C); None without test examples.
    """

    train: np.ndarray
    test: np.ndarray | None = None


def kernel_dynamics(
    kernel: Any,
    targets: Any,
    schedule: Schedule,
    *,
    start: Any = None,
    test_kernel: Any = None,
    test_start: Any = None,
    ridge: float = 0.0,
    jitter: float = 0.0,
    singular: Singular = "refuse",
) -> Fit:
    """Outputs at any time of training on the squared error ½‖f − y‖², under a kernel that does not move.

    f_t(x) = f₀(x) + K(x, X) K⁻¹ (I − e^{−Kt}) (y − f₀(X)) under gradient flow, and with (I − ηK)^k in the place of
    e^{−Kt} after k steps of gradient descent: exact for a network linear in its weights. One eigendecomposition serves
    all moments.

    Args:
        kernel: of the N training examples: (N, C, N, C), or (N, N) for K ⊗ I_C.
        targets: y, (N, C).
        schedule: :class:`~clntk.theory.schedules.GradientFlow` or :class:`~clntk.theory.schedules.GradientDescent`.
        start: f₀ on the training examples, (N, C); by default 0.
        test_kernel: of M further examples with the training examples: (M, C, N, C) or (M, N).
        test_start: f₀ on these, (M, C); by default 0.
        ridge: ρ of a penalty ½ρ‖θ − θ₀‖² beside the *sum* of ½‖f − y‖² (and divided by N with it): at the end of time,
            kernel ridge regression.
        jitter: added to the diagonal of ``kernel``, never unless asked.
        singular: what to do at the end of time with a kernel that has eigenvalues of zero to rounding, without ridge:
            ``refuse``, or ``keep`` outputs in these directions where they were, as gradient flow does. At finite times
            they stay there in any case.

    Raises:
        DataError: for shapes that do not fit, a kernel that is not symmetric or has negative eigenvalues beyond
            rounding, one that is singular, and steps that diverge.

    Source: Lee et al. 2019, arXiv 1902.06720, eqs. (8)–(11).
    """
    own = Block.of(kernel, "kernel")
    n = own.examples[0]
    y = outputs_on(targets, n, own.outputs, "targets")
    before = outputs_on(start, n, y.shape[1], "start")
    spectrum = Spectrum.of(own, "kernel", jitter=jitter)
    refuse_negative(ridge, "ridge")
    gains = schedule.gains(spectrum.values + ridge, n, singular)
    residual = own.fold(y - before)
    train = before + spectrum.apply(gains * spectrum.values, residual).reshape(-1, *y.shape)
    if test_kernel is None:
        return Fit(train)
    cross = Block.of(test_kernel, "test_kernel")
    cross.check_like(own, "test_kernel")
    m = cross.examples[0]
    other = outputs_on(test_start, m, y.shape[1], "test_start")
    moved = cross.matrix @ spectrum.apply(gains, residual)
    return Fit(train, other + moved.reshape(-1, m, y.shape[1]))


def kernel_regression(kernel: Any, targets: Any, test_kernel: Any = None, **options: Any) -> Fit:
    """Outputs after training to convergence: f₀ + K(·, X) (K + ρI)⁻¹ (y − f₀(X)).

    Args:
        kernel, targets, test_kernel: as of :func:`kernel_dynamics`.
        options: its further keywords: ``start``, ``test_start``, ``ridge``, ``jitter``, ``singular``.

    Returns:
        outputs (N, C) and (M, C).

    Raises:
        DataError: as :func:`kernel_dynamics` does.
    """
    fit = kernel_dynamics(kernel, targets, GradientFlow(), test_kernel=test_kernel, **options)
    return Fit(fit.train[0], None if fit.test is None else fit.test[0])
