"""Gaussians over outputs: against scikit-learn, and over many linear models that start at random."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from clntk.errors import DataError
from clntk.theory.dynamics import kernel_dynamics
from clntk.theory.ensemble import ensemble_dynamics, gp_posterior
from clntk.theory.schedules import GradientDescent, GradientFlow


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_posterior_is_scikit_learns(noise, rng):
    x, x_test, y = rng.normal(size=(7, 2)), rng.normal(size=(4, 2)), rng.normal(size=(7, 3))
    rbf = RBF(0.8)
    peer = GaussianProcessRegressor(rbf, alpha=noise or 1e-300, optimizer=None).fit(x, y)
    mean, covariance = peer.predict(x_test, return_cov=True)
    found = gp_posterior(rbf(x), y, test_kernel=rbf(x_test, x), prior=rbf(x_test), noise=noise)
    np.testing.assert_allclose(found.mean, mean, atol=1e-9)
    np.testing.assert_allclose(found.covariance, covariance[..., 0], atol=1e-9)
    np.testing.assert_allclose(found.variance, np.diagonal(covariance[..., 0]), atol=1e-9)


def _kernels(rng, p=30):
    """Features φ of a linear model f = φ θ, and the map from z ~ N(0, I) to its start θ₀ = S z."""
    x, x_test, s = rng.normal(size=(5, p)), rng.normal(size=(3, p)), rng.normal(size=(p, p)) / np.sqrt(p)
    theta = {"ntk": x @ x.T, "test_ntk": x_test @ x.T}
    a, b = x @ s, x_test @ s
    prior = {"nngp": a @ a.T, "test_nngp": b @ a.T, "prior": b @ b.T}
    return theta | prior, a, b


@pytest.mark.parametrize(
    "schedule",
    [GradientFlow([0.0, 0.02, 0.3, np.inf]), GradientDescent([0, 3, 50], 0.01)],
    ids=["flow", "descent"],
)
def test_the_ensemble_is_over_random_starts(schedule, rng):
    """Outputs are affine in z, so that the columns of that map give mean and covariance exactly."""
    kernels, a, b = _kernels(rng)
    y = rng.normal(size=(5, 2))
    found = ensemble_dynamics(targets=y, schedule=schedule, **kernels)

    def test_outputs(y, start, test_start):
        options = {"start": start, "test_kernel": kernels["test_ntk"], "test_start": test_start}
        return kernel_dynamics(kernels["ntk"], y, schedule, **options).test

    np.testing.assert_allclose(found.mean, test_outputs(y, None, None), atol=1e-10)
    linear = test_outputs(np.zeros((5, 30)), a, b)  # an output for each component of z
    np.testing.assert_allclose(found.covariance, linear @ np.swapaxes(linear, 1, 2), atol=1e-9)
    np.testing.assert_allclose(found.covariance[0], kernels["prior"], atol=1e-10)
    assert found.covariance.shape == (len(schedule.moments), 3, 3)


def test_training_the_read_out_alone_samples_the_posterior(rng):
    kernels, *_ = _kernels(rng)
    k, cross, prior = kernels["nngp"], kernels["test_nngp"], kernels["prior"]
    y = rng.normal(size=(5, 1))
    last = ensemble_dynamics(k, k, y, GradientFlow(), test_ntk=cross, test_nngp=cross, prior=prior)
    posterior = gp_posterior(k, y, test_kernel=cross, prior=prior)
    np.testing.assert_allclose(last.mean[0], posterior.mean, atol=1e-9)
    np.testing.assert_allclose(last.covariance[0], posterior.covariance, atol=1e-9)
    of_all = ensemble_dynamics(targets=y, schedule=GradientFlow(), **kernels)
    assert np.abs(of_all.covariance[0] - posterior.covariance).max() > 1e-3  # training all weights does not


def test_full_kernels_of_outputs_that_do_not_mix(rng):
    kernels, *_ = _kernels(rng)
    y = rng.normal(size=(5, 2))
    wide = {name: np.einsum("nm,cd->ncmd", k, np.eye(2)) for name, k in kernels.items()}
    one = ensemble_dynamics(targets=y, schedule=GradientFlow(0.1), ridge=0.2, **kernels)
    both = ensemble_dynamics(targets=y, schedule=GradientFlow(0.1), ridge=0.2, **wide)
    np.testing.assert_allclose(both.mean, one.mean, atol=1e-12)
    np.testing.assert_allclose(both.covariance[0], np.kron(one.covariance[0], np.eye(2)), atol=1e-11)


def test_what_does_not_fit_is_refused(rng):
    kernels, *_ = _kernels(rng)
    y = np.zeros((5, 1))
    with pytest.raises(DataError, match="nngp: expected a kernel"):
        ensemble_dynamics(targets=y, schedule=GradientFlow(), **(kernels | {"nngp": np.eye(4)}))
    with pytest.raises(
        DataError, match=r"same 3 test examples, found test_nngp of 3 and a prior of \(2, 2\)"
    ):
        ensemble_dynamics(targets=y, schedule=GradientFlow(), **(kernels | {"prior": np.eye(2)}))
    x = rng.normal(size=(5, 2))
    options = {"test_kernel": x @ x.T, "prior": x @ x.T}
    with pytest.raises(DataError, match="full rank where there is no noise, found 3 of 5"):
        gp_posterior(x @ x.T, y, **options)
    gp_posterior(x @ x.T, y, noise=0.1, **options)
