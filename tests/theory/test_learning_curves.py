"""Expected losses, against losses of many draws and a formula for one task."""

import numpy as np
import pytest

from clntk.errors import DataError
from clntk.theory.continual import continual_regression
from clntk.theory.learning_curves import expected_regression
from clntk.theory.projection import StoredGradients
from clntk.theory.schedules import GradientFlow

SIZES, TEST_SIZES = (4, 3), (2, 3)


def _kernels(rng, similarity):
    x = rng.normal(size=(12, 20)) / np.sqrt(20)
    task = np.repeat([0, 1, 0, 1], (*SIZES, *TEST_SIZES))
    alike = np.array([[1.0, similarity], [similarity, 1.0]])[np.ix_(task, task)]
    gram = x @ x.T
    return gram[:7, :7], gram[7:, :7], gram * alike


@pytest.mark.parametrize(
    "options", [{}, {"stored": StoredGradients(), "ridge": 0.1}], ids=["free", "protected"]
)
def test_the_mean_over_draws(options, rng):
    kernel, cross, covariance = _kernels(rng, -0.5)
    schedule = GradientFlow(3.0, "mean")
    found = expected_regression(
        kernel, SIZES, covariance, schedule, test_kernel=cross, test_sizes=TEST_SIZES, noise=0.2, **options
    )
    n = 40_000  # draws, as outputs of one kernel; a mean of squares of Gaussians is off by √2/√n of itself, or so
    drawn = rng.multivariate_normal(np.zeros(12), covariance, size=n).T
    y = drawn[:7] + np.sqrt(0.2) * rng.normal(size=(7, n))
    test = {"test_kernel": cross, "test_targets": np.split(drawn[7:], [2])}
    many = continual_regression(kernel, np.split(y, [4]), schedule, **test, **options)
    for mine, theirs in ((found.train, many.train), (found.test, many.test)):
        np.testing.assert_allclose(mine.losses, theirs.losses / n, rtol=0.04)
    np.testing.assert_allclose(found.test.drift[1, 0], many.test.drift[1, 0] / n, rtol=0.04)


def test_one_task_is_the_posterior_variance(rng):
    """Trained to convergence with the targets' own kernel and their noise as ridge, the error is what is unknown."""
    kernel, cross, covariance = _kernels(rng, 1.0)
    found = expected_regression(
        kernel, [7], covariance, test_kernel=cross, test_sizes=[5], noise=0.3, ridge=0.3
    )
    left = covariance[7:, 7:] - cross @ np.linalg.solve(kernel + 0.3 * np.eye(7), cross.T)
    assert found.test.losses[1, 0] == pytest.approx(0.5 * np.trace(left) / 5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="of the 2 training and 1 test examples together, found 2 examples"):
        expected_regression(np.eye(2), [2], np.eye(2), test_kernel=np.ones((1, 2)), test_sizes=[1])
    with pytest.raises(DataError, match="noise: expected a finite number"):
        expected_regression(np.eye(2), [2], np.eye(2), noise=-1.0)
