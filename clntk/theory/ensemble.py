"""Means and covariances of outputs: over networks that start at random, and over functions given data."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clntk.errors import DataError
from clntk.theory.blocks import Block, outputs_on, refuse_negative
from clntk.theory.schedules import Schedule, Singular
from clntk.theory.spectrum import Spectrum


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian over outputs on M test examples.

    Args:
        mean: (…, M, C).
        covariance: (…, M, M) of every one output, for kernels K ⊗ I_C; (…, M · C, M · C) for full ones.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """The diagonal of the covariance, at least 0: (…, M) or (…, M · C)."""
        return np.maximum(np.diagonal(self.covariance, axis1=-2, axis2=-1), 0.0)


def ensemble_dynamics(
    ntk: Any,
    nngp: Any,
    targets: Any,
    schedule: Schedule,
    *,
    test_ntk: Any,
    test_nngp: Any,
    prior: Any,
    ridge: float = 0.0,
    jitter: float = 0.0,
    singular: Singular = "refuse",
) -> Gaussian:
    """Mean and covariance of outputs over infinitely wide networks trained from random starts.

    Outputs start as Gaussians of mean 0 and covariance 𝒦, and move by :func:`~clntk.theory.dynamics.kernel_dynamics`
    under Θ: with A = Θ(·, X) V g(Λ) Vᵀ, of mean A y and covariance 𝒦(·,·) + A 𝒦(X,X) Aᵀ − A 𝒦(X,·) − 𝒦(·,X) Aᵀ. This is
    no posterior, but where Θ = 𝒦.

    Args:
        ntk: Θ(X, X), (N, N) or (N, C, N, C).
        nngp: 𝒦(X, X), of the same shape.
        targets: y, (N, C).
        schedule: how long, as of :func:`~clntk.theory.dynamics.kernel_dynamics`.
        test_ntk, test_nngp: Θ(·, X) and 𝒦(·, X) of the M test examples.
        prior: 𝒦(·, ·) of the test examples.
        ridge, jitter, singular: for Θ, as of :func:`~clntk.theory.dynamics.kernel_dynamics`.

    Returns:
        mean (T, M, C), covariance (T, M, M) at T moments.

    Raises:
        DataError: as :func:`~clntk.theory.dynamics.kernel_dynamics` does.

    Source: Lee et al. 2019, arXiv 1902.06720, eqs. (14)–(16).
    """
    theta, k = Block.of(ntk, "ntk"), Block.of(nngp, "nngp")
    cross, k_cross = Block.of(test_ntk, "test_ntk"), Block.of(test_nngp, "test_nngp")
    k_test = Block.of(prior, "prior")
    _check_shapes(theta, k, cross, k_cross, k_test)
    n, m = theta.examples[0], cross.examples[0]
    y = outputs_on(targets, n, theta.outputs, "targets")
    spectrum = Spectrum.of(theta, "ntk", jitter=jitter)
    refuse_negative(ridge, "ridge")
    gains = schedule.gains(spectrum.values + ridge, n, singular)
    a = cross.matrix @ spectrum.matrix(gains)
    mean = (a @ theta.fold(y)).reshape(-1, m, y.shape[1])
    mixed = a @ k_cross.matrix.T
    covariance = k_test.matrix + a @ k.matrix @ np.swapaxes(a, -1, -2) - mixed - np.swapaxes(mixed, -1, -2)
    return Gaussian(mean, covariance)


def gp_posterior(
    kernel: Any,
    targets: Any,
    *,
    test_kernel: Any,
    prior: Any,
    noise: float = 0.0,
    jitter: float = 0.0,
) -> Gaussian:
    """The posterior of a Gaussian process given targets: mean 𝒦(·,X) (𝒦 + σ²I)⁻¹ y, covariance 𝒦 − 𝒦 (𝒦 + σ²I)⁻¹ 𝒦.

    With :func:`clntk.infinite_nngp` as kernel: Bayesian inference over all weights of an infinitely wide network, or
    the ensemble of such networks of which the read-out alone is trained, to convergence.

    Args:
        kernel: 𝒦(X, X), (N, N) or (N, C, N, C).
        targets: y, (N, C).
        test_kernel: 𝒦(·, X) of the M test examples.
        prior: 𝒦(·, ·) of the test examples.
        noise: σ², the variance of targets about the function.
        jitter: added to the diagonal of ``kernel``, never unless asked.

    Returns:
        mean (M, C), covariance (M, M), of the function, without noise.

    Raises:
        DataError: for shapes that do not fit, a kernel with negative eigenvalues beyond rounding, or one that is
            singular where there is no noise.

    Source: Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning", eqs. (2.25)–(2.26); Lee et al. 2018,
        arXiv 1711.00165.
    """
    own, cross, test = (
        Block.of(k, name) for k, name in ((kernel, "kernel"), (test_kernel, "test_kernel"), (prior, "prior"))
    )
    _check_shapes(own, own, cross, cross, test)
    y = outputs_on(targets, own.examples[0], own.outputs, "targets")
    spectrum = Spectrum.of(own, "kernel", jitter=jitter)
    refuse_negative(noise, "noise")
    if noise == 0 and spectrum.n_zero:
        raise DataError(
            f"kernel: expected one of full rank where there is no noise, found {spectrum.n_zero} of "
            f"{len(spectrum.values)} eigenvalues that are zero to rounding; give noise, or ask for jitter"
        )
    weights = cross.matrix @ spectrum.matrix(1 / (spectrum.values + noise))
    mean = (weights @ own.fold(y)).reshape(cross.examples[0], y.shape[1])
    return Gaussian(mean, test.matrix - weights @ cross.matrix.T)


def _check_shapes(theta: Block, k: Block, cross: Block, k_cross: Block, k_test: Block) -> None:
    k.check_like(theta, "nngp")
    cross.check_like(theta, "test_ntk")
    k_cross.check_like(theta, "test_nngp")
    if k_cross.examples != cross.examples or k_test.matrix.shape != (len(cross.matrix),) * 2:
        raise DataError(
            f"prior: expected kernels of the same {cross.examples[0]} test examples, found test_nngp of "
            f"{k_cross.examples[0]} and a prior of {k_test.examples}"
        )
