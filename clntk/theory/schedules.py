"""How long, and in what steps, outputs follow their kernel: gradient flow, and gradient descent.

Either is one function of eigenvalues, the gain g(λ): under the squared error ½‖f − y‖², training on examples X moves
outputs by f(x) − f₀(x) = K(x, X) V g(Λ) Vᵀ (y − f₀(X)), with K(X, X) = V Λ Vᵀ. At the end of time, g(λ) = 1/λ: kernel
regression. A penalty ½ρ‖θ − θ₀‖² takes λ + ρ in the place of λ in the gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clntk.errors import DataError

Reduction = Literal["sum", "mean"]
Singular = Literal["refuse", "keep"]


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow, dθ/dt = −∂L/∂θ, looked at after times t.

    Args:
        times: one, or several; ``inf`` is convergence. Gradient descent of small steps η is at t = η · steps.
        loss: whether L is the sum over examples of ½‖f − y‖², or their mean: by the mean, time runs N times slower.
    """

    times: float | Sequence[float] = np.inf
    loss: Reduction = "sum"

    def __post_init__(self) -> None:
        _check(self.loss, self.times, "GradientFlow.times")

    @property
    def moments(self) -> np.ndarray:
        """The times, (T)."""
        return np.atleast_1d(np.asarray(self.times, float))

    def gains(self, rates: np.ndarray, examples: int, singular: Singular = "refuse") -> np.ndarray:
        """(1 − e^{−λt})/λ: (T, R).

        Args:
            rates: λ + ρ, exactly 0 where it is zero to rounding.
            examples: N.
            singular: see :func:`clntk.theory.dynamics.kernel_dynamics`.

        Raises:
            DataError: at the end of time, if there are rates of 0 and they are refused.
        """
        times = self.moments / (examples if self.loss == "mean" else 1)
        with np.errstate(invalid="ignore"):  # 0 · ∞, of rates that are put aside
            learned = -np.expm1(-times[:, None] * rates)
        return _over(learned, rates, times, singular)


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent θ ← θ − η ∂L/∂θ on all examples at once, looked at after numbers of steps.

    Args:
        steps: one number, or several; ``inf`` is convergence.
        lr: η.
        loss: as of :class:`GradientFlow`; by the mean, steps are η/N.
        unstable: what to do where η λ_max is 2 or more, so that outputs diverge: ``refuse``, or ``follow`` them.
    """

    steps: float | Sequence[float]
    lr: float
    loss: Reduction = "sum"
    unstable: Literal["refuse", "follow"] = "refuse"

    def __post_init__(self) -> None:
        _check(self.loss, self.steps, "GradientDescent.steps")
        whole = self.moments[np.isfinite(self.moments)]
        if (whole != np.round(whole)).any():
            raise DataError(f"GradientDescent.steps: expected whole numbers, found {self.steps}")
        if not 0 < self.lr < np.inf:
            raise DataError(f"GradientDescent.lr: expected a finite number above 0, found {self.lr}")
        if self.unstable not in ("refuse", "follow"):
            raise DataError(
                f"GradientDescent.unstable: expected 'refuse' or 'follow', found {self.unstable!r}"
            )

    @property
    def moments(self) -> np.ndarray:
        """The numbers of steps, (T)."""
        return np.atleast_1d(np.asarray(self.steps, float))

    def gains(self, rates: np.ndarray, examples: int, singular: Singular = "refuse") -> np.ndarray:
        """(1 − (1 − ηλ)^k)/λ: (T, R); see :meth:`GradientFlow.gains`.

        Raises:
            DataError: for steps that are too large, unless they are followed, and then at the end of time.
        """
        lr = self.lr / (examples if self.loss == "mean" else 1)
        contraction = lr * rates
        if contraction.max() >= 2 and (self.unstable == "refuse" or np.isinf(self.moments).any()):
            raise DataError(
                f"GradientDescent.lr: expected steps below 2/λ_max = {self.lr * 2 / contraction.max():.6g}, found "
                f"{self.lr:g}, for which η λ_max is {contraction.max():.4g} and outputs diverge; lower it, or, for "
                "finite numbers of steps, ask for unstable='follow'"
            )
        steps = self.moments[:, None]
        small = contraction < 0.5  # below, 1 − (1 − x)^k loses digits
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            near = -np.expm1(steps * np.log1p(-np.where(small, contraction, 0.0)))
            far = 1 - np.where(small, 0.0, 1 - contraction) ** steps
            return _over(np.where(small, near, far), rates, self.moments, singular)


Schedule = GradientFlow | GradientDescent


def _over(learned: np.ndarray, rates: np.ndarray, moments: np.ndarray, singular: Singular) -> np.ndarray:
    """Shares learned (T, R) divided by rates; a rate of 0 moves no output, at no time, so that its gain may be 0."""
    zero = rates == 0
    if singular not in ("refuse", "keep"):
        raise DataError(f"singular: expected 'refuse' or 'keep', found {singular!r}")
    if zero.any() and np.isinf(moments).any() and singular == "refuse":
        raise DataError(
            f"kernel: expected one of full rank for training to convergence, found {zero.sum()} of {len(rates)} "
            "eigenvalues that are zero to rounding; give a ridge, ask for jitter, or take singular='keep', by which "
            "what the kernel cannot learn stays as it was"
        )
    return np.where(zero, 0.0, learned / np.where(zero, 1.0, rates))


def _check(loss: str, moments: float | Sequence[float], where: str) -> None:
    if loss not in ("sum", "mean"):
        raise DataError(f"{where.partition('.')[0]}.loss: expected 'sum' or 'mean', found {loss!r}")
    found = np.asarray(moments, float)
    if found.ndim > 1 or not found.size or not (found >= 0).all():
        raise DataError(f"{where}: expected one number of at least 0, or several, found {moments}")
