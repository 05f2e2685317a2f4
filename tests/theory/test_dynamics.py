"""Closed-form training, against training: of linear models, of linearised networks, and of scikit-learn's."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import ortho_group
from sklearn.kernel_ridge import KernelRidge

import clntk
from clntk import registry
from clntk.errors import DataError
from clntk.shape import TaskShape
from clntk.theory.dynamics import kernel_dynamics, kernel_regression
from clntk.theory.schedules import GradientDescent, GradientFlow

TIMES = (0.0, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)


def _problem(rng, n=6, m=3, c=2, p=40):
    """Features and targets of training and test examples, and outputs at the start."""
    jacobians = [rng.normal(size=(k, c, p)) / np.sqrt(p) for k in (n, m)]
    return *jacobians, *(rng.normal(size=(k, c)) for k in (n, n, m))


def test_gradient_flow_is_the_matrix_exponential(rng, full):
    train, test, y, start, test_start = _problem(rng)
    fit = kernel_dynamics(
        full(train), y, GradientFlow(TIMES), start=start, test_kernel=full(test, train), test_start=test_start
    )
    k, cross = full(train).reshape(12, 12), full(test, train).reshape(6, 12)
    for t, on_train, on_test in zip(TIMES, fit.train, fit.test, strict=True):
        learned = (np.eye(12) - expm(-k * t)) @ (y - start).ravel()
        np.testing.assert_allclose(on_train.ravel(), start.ravel() + learned, atol=1e-12)
        expected = test_start.ravel() + cross @ np.linalg.solve(k, learned)
        np.testing.assert_allclose(on_test.ravel(), expected, atol=1e-11)


@pytest.mark.parametrize("loss", ["sum", "mean"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("lr", [0.05, 0.7], ids=["small steps", "steps that overshoot"])
def test_gradient_descent_is_descent_on_weights(loss, ridge, lr, rng, full):
    train, test, y, start, test_start = _problem(rng)
    n = len(y) if loss == "mean" else 1
    lr, steps = lr * n, (0, 1, 2, 7, 40)
    options = {"start": start, "test_kernel": full(test, train), "test_start": test_start, "ridge": ridge}
    fit = kernel_dynamics(full(train), y, GradientDescent(steps, lr, loss), **options)
    theta, found = np.zeros(train.shape[-1]), {}
    for step in range(max(steps) + 1):
        f = start + train @ theta
        found[step] = f, test_start + test @ theta
        theta = theta - lr / n * (np.einsum("ncp,nc->p", train, f - y) + ridge * theta)
    np.testing.assert_allclose(fit.train, [found[k][0] for k in steps], atol=1e-10)
    np.testing.assert_allclose(fit.test, [found[k][1] for k in steps], atol=1e-10)


def test_small_steps_become_the_flow(rng, full):
    train, _, y, start, _ = _problem(rng)
    flow = kernel_dynamics(full(train), y, GradientFlow(1.0), start=start).train

    def apart(steps):
        return np.abs(
            kernel_dynamics(full(train), y, GradientDescent(steps, 1 / steps), start=start).train - flow
        ).max()

    assert apart(100) > 1e-4
    assert apart(100) / apart(10_000) == pytest.approx(100, rel=0.05)


def test_all_schedules_end_in_kernel_ridge_regression(rng):
    x, x_test, y = rng.normal(size=(8, 3)), rng.normal(size=(5, 3)), rng.normal(size=(8, 2))
    peer = KernelRidge(alpha=0.4, kernel="rbf", gamma=0.7).fit(x, y)
    kernel, cross = peer._get_kernel(x), peer._get_kernel(x_test, x)
    fit = kernel_regression(kernel, y, cross, ridge=0.4)
    np.testing.assert_allclose(fit.train, peer.predict(x), atol=1e-12)
    np.testing.assert_allclose(fit.test, peer.predict(x_test), atol=1e-12)
    for schedule in (
        GradientFlow([1e6, np.inf]),
        GradientDescent([1e6, np.inf], 0.2),
        GradientDescent([1e6, np.inf], 0.2, "mean"),
    ):
        late = kernel_dynamics(kernel, y, schedule, test_kernel=cross, ridge=0.4)
        np.testing.assert_allclose(late.test, [fit.test] * 2, atol=1e-12)
    exact = kernel_regression(kernel, y, cross)
    np.testing.assert_allclose(exact.train, y, atol=1e-10)


def test_one_kernel_for_all_outputs_is_its_full_form(rng):
    x, x_test, y, start = (rng.normal(size=s) for s in ((6, 20), (4, 20), (6, 3), (6, 3)))
    kernel, cross = x @ x.T / 20, x_test @ x.T / 20
    wide = np.einsum("nm,cd->ncmd", kernel, np.eye(3)), np.einsum("nm,cd->ncmd", cross, np.eye(3))
    for schedule in (GradientFlow(TIMES), GradientDescent([0, 3, 50], 0.4, "mean")):
        one = kernel_dynamics(kernel, y, schedule, start=start, test_kernel=cross, ridge=0.1)
        all_ = kernel_dynamics(wide[0], y, schedule, start=start, test_kernel=wide[1], ridge=0.1)
        np.testing.assert_allclose(one.train, all_.train, atol=1e-12)
        np.testing.assert_allclose(one.test, all_.test, atol=1e-12)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    options = {"width": 24, "depth": 2, "activation": "tanh"}
    return registry.get("model", "mlp")(TaskShape((4,), 2), **options).double()


@pytest.fixture(scope="module")
def data():
    g = torch.Generator().manual_seed(1)
    return [torch.randn(k, w, generator=g, dtype=torch.float64) for k, w in ((6, 4), (6, 2), (5, 4))]


def _closed_form(network, data, schedule):
    x, y, x_test = data
    cross = clntk.empirical_ntk(network, x_test, x)
    options = {"start": network(x), "test_kernel": cross, "test_start": network(x_test)}
    return kernel_dynamics(clntk.empirical_ntk(network, x), y, schedule, **options)


def _trained(network, data, lr, moments, stages):
    """Outputs of the network's expansion, trained with its own gradients, after so many steps.

    One stage is gradient descent; four are Runge and Kutta's, of which the square, cube and fourth power of a step do
    not count, so that steps are small which would have to be tiny.
    """
    x, y, x_test = data
    linear = clntk.linearize(copy.deepcopy(network))
    theta, found = list(linear.parameters()), []

    def gradient(at, offset):
        with torch.no_grad():
            for p, start, by in zip(theta, at, offset, strict=True):
                p.copy_(start + by)
        return torch.autograd.grad(0.5 * (linear(x) - y).square().sum() / len(x), theta)

    for step in range(moments[-1] + 1):
        if step in moments:
            found.append([linear(z).detach().numpy() for z in (x, x_test)])
        at = [p.detach().clone() for p in theta]
        slopes = [gradient(at, [torch.zeros_like(p) for p in theta])]
        for part in (0.5, 0.5, 1.0)[: stages - 1]:
            slopes.append(gradient(at, [-lr * part * g for g in slopes[-1]]))
        weights = {1: (1,), 4: (1 / 6, 1 / 3, 1 / 3, 1 / 6)}[stages]
        with torch.no_grad():
            for p, start, *gs in zip(theta, at, *slopes, strict=True):
                p.copy_(start - lr * sum(w * g for w, g in zip(weights, gs, strict=True)))
    return [np.stack(f) for f in zip(*found, strict=True)]


MOMENTS = (0, 1, 2, 5, 10, 20, 30, 50, 75, 100)


def test_a_linearised_network_trained_in_steps_is_the_closed_form_at_ten_times(network, data):
    fit = _closed_form(network, data, GradientDescent(MOMENTS, 0.05, "mean"))
    train, test = _trained(network, data, 0.05, MOMENTS, stages=1)
    np.testing.assert_allclose(fit.train, train, atol=1e-10)
    np.testing.assert_allclose(fit.test, test, atol=1e-10)


def test_a_linearised_network_under_gradient_flow_is_the_closed_form_at_ten_times(network, data):
    fit = _closed_form(network, data, GradientFlow([0.02 * k for k in MOMENTS], "mean"))
    train, test = _trained(network, data, 0.02, MOMENTS, stages=4)
    np.testing.assert_allclose(fit.train, train, atol=1e-5)
    np.testing.assert_allclose(fit.test, test, atol=1e-5)
    assert np.abs(fit.test[-1] - fit.test[0]).max() > 0.1
    stepped = _closed_form(network, data, GradientDescent(MOMENTS, 0.02, "mean"))
    assert np.abs(fit.train - stepped.train).max() > 1e-3  # that the two differ is seen


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), time=st.floats(0, 5))
def test_rotated_outputs_and_reordered_examples(seed, time):
    rng = np.random.default_rng(seed)
    jacobian, y, test = rng.normal(size=(5, 3, 30)), rng.normal(size=(5, 3)), rng.normal(size=(2, 3, 30))
    turn, order = ortho_group.rvs(3, random_state=seed), rng.permutation(5)

    def fitted(train, y, test):
        kernel = np.einsum("ncp,mdp->ncmd", train, train) / 30
        cross = np.einsum("ncp,mdp->ncmd", test, train) / 30
        return kernel_dynamics(kernel, y, GradientFlow(time), test_kernel=cross, ridge=0.01)

    plain = fitted(jacobian, y, test)
    rotated = fitted(
        np.einsum("cd,ndp->ncp", turn, jacobian), y @ turn.T, np.einsum("cd,ndp->ncp", turn, test)
    )
    np.testing.assert_allclose(rotated.train, plain.train @ turn.T, atol=1e-9)
    np.testing.assert_allclose(rotated.test, plain.test @ turn.T, atol=1e-9)
    reordered = fitted(jacobian[order], y[order], test)
    np.testing.assert_allclose(reordered.train, plain.train[:, order], atol=1e-9)
    np.testing.assert_allclose(reordered.test, plain.test, atol=1e-9)


def test_what_a_singular_kernel_cannot_learn_stays(rng):
    """More examples than features: the limit of training is least squares."""
    x, x_test, y = rng.normal(size=(9, 3)), rng.normal(size=(4, 3)), rng.normal(size=(9, 1))
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    with pytest.raises(DataError, match=r"full rank for training to convergence, found 6 of 9 eigenvalues"):
        kernel_regression(x @ x.T, y, x_test @ x.T)
    fit = kernel_regression(x @ x.T, y, x_test @ x.T, singular="keep")
    np.testing.assert_allclose(fit.train, x @ weights, atol=1e-12)
    np.testing.assert_allclose(fit.test, x_test @ weights, atol=1e-12)
    for late in (GradientFlow(1e9), GradientDescent(1e9, 0.01)):  # and it does not creep away in rounding
        fit = kernel_dynamics(x @ x.T, y, late, test_kernel=x_test @ x.T)
        np.testing.assert_allclose(fit.test[0], x_test @ weights, atol=1e-10)


def test_jitter_is_what_was_asked_for(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    with_jitter = kernel_dynamics(x @ x.T, y, GradientFlow([2.0, np.inf]), test_kernel=x @ x.T, jitter=0.1)
    by_hand = kernel_dynamics(x @ x.T + 0.1 * np.eye(9), y, GradientFlow([2.0, np.inf]), test_kernel=x @ x.T)
    np.testing.assert_allclose(with_jitter.train, by_hand.train, atol=1e-11)
    np.testing.assert_allclose(with_jitter.test, by_hand.test, atol=1e-11)


def test_steps_that_diverge(rng):
    x, y = rng.normal(size=(4, 6)), rng.normal(size=(4, 1))
    kernel = x @ x.T
    limit = 2 / np.linalg.eigvalsh(kernel)[-1]
    with pytest.raises(DataError, match=rf"below 2/λ_max = {limit:.6g}, found .* η λ_max is 2.02"):
        kernel_dynamics(kernel, y, GradientDescent(3, 1.01 * limit))
    with pytest.raises(DataError, match=rf"below 2/λ_max = {4 * limit:.6g}"):
        kernel_dynamics(kernel, y, GradientDescent(3, 4.04 * limit, "mean"))
    with pytest.raises(DataError, match="outputs diverge"):
        kernel_dynamics(kernel, y, GradientDescent(np.inf, 1.01 * limit, unstable="follow"))
    f, followed = (
        np.zeros((4, 1)),
        kernel_dynamics(kernel, y, GradientDescent(30, 1.1 * limit, unstable="follow")),
    )
    for _ in range(30):
        f = f - 1.1 * limit * kernel @ (f - y)
    np.testing.assert_allclose(followed.train[0], f, rtol=1e-9)
    assert np.abs(f).max() > 10 * np.abs(y).max()
    kernel_dynamics(kernel, y, GradientDescent([3, np.inf], 0.99 * limit))


def _asymmetric(k):
    k[0, 1] += 1e-3


def _negative(k):
    k -= 0.01 * np.eye(len(k))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_asymmetric, r"kernel: expected a symmetric kernel, found entries that differ .* by 0\.001"),
        (_negative, r"without negative eigenvalues, found -0\.01, .* ask for jitter of at least 0\.01"),
        (lambda k: k.__setitem__((0, 0), np.nan), "kernel: expected finite numbers, found 1 of 25"),
    ],
)
def test_what_is_no_kernel_is_refused(spoil, message, rng):
    x = rng.normal(size=(5, 3))
    kernel = x @ x.T
    spoil(kernel)
    with pytest.raises(DataError, match=message):
        kernel_dynamics(kernel, np.zeros((5, 1)), GradientFlow(1.0))


def test_rounding_of_single_precision_is_no_negative_eigenvalue(rng):
    x = rng.normal(size=(40, 3))
    kernel = (x @ x.T).astype(np.float32)
    assert np.linalg.eigvalsh(kernel.astype(float))[0] < -1e-9
    kernel_dynamics(kernel, np.zeros((40, 1)), GradientFlow(1.0))
    with pytest.raises(DataError, match="compute it in float64"):
        kernel_dynamics(kernel.astype(float), np.zeros((40, 1)), GradientFlow(1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": np.eye(5)[:4]}, r"as many rows as columns, found \(4, 5\)"),
        ({"kernel": np.ones((2, 3, 2, 2))}, r"shape \(N, C, M, C\) or \(N, M\), found \(2, 3, 2, 2\)"),
        ({"targets": np.zeros(4)}, r"targets: expected values of shape \(4, C\), found \(4,\); a single"),
        ({"start": np.zeros((4, 3))}, r"start: expected values of shape \(4, 2\), found \(4, 3\)"),
        (
            {"test_kernel": np.zeros((2, 3))},
            r"test_kernel: expected a kernel \(M, 4\) .* found 2 examples by 3",
        ),
        ({"test_kernel": np.zeros((2, 2, 4, 2))}, "full, of 2 outputs, beside as K ⊗ I"),
        ({"ridge": -1.0}, "ridge: expected a finite number of at least 0, found -1"),
        ({"jitter": np.inf}, "kernel, jitter: expected a finite number"),
        ({"singular": "drop"}, "singular: expected 'refuse' or 'keep', found 'drop'"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"kernel": np.eye(4), "targets": np.zeros((4, 2)), "schedule": GradientFlow(1.0)} | change
    with pytest.raises(DataError, match=message):
        kernel_dynamics(**given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GradientFlow(-1.0),
            r"GradientFlow.times: expected one number of at least 0, or several, found -1",
        ),
        (lambda: GradientFlow([]), "GradientFlow.times"),
        (lambda: GradientFlow(1.0, "max"), "GradientFlow.loss: expected 'sum' or 'mean', found 'max'"),
        (lambda: GradientDescent(1.5, 0.1), "GradientDescent.steps: expected whole numbers, found 1.5"),
        (lambda: GradientDescent(1, 0.0), "GradientDescent.lr: expected a finite number above 0, found 0"),
        (lambda: GradientDescent(1, 0.1, unstable="ignore"), "GradientDescent.unstable"),
    ],
)
def test_schedules_that_are_none(make, message):
    with pytest.raises(DataError, match=message):
        make()
