"""Gradient flow on the cross-entropy, against descent on weights in small steps and against its own invariances."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import log_softmax, softmax

from clntk.errors import DataError
from clntk.theory.cross_entropy import cross_entropy_flow
from clntk.theory.schedules import GradientFlow


def _problem(rng, n=6, m=3, c=3, p=40):
    train, test = (rng.normal(size=(k, c, p)) / np.sqrt(p) for k in (n, m))
    return train, test, rng.integers(c, size=n), rng.normal(size=(n, c)), rng.normal(size=(m, c))


def _midpoint(train, test, y, start, test_start, head, steps, lr):
    """Weights moved along −∂L/∂θ by the midpoint rule, and the outputs that they give."""
    one_hot = np.eye(train.shape[1])[y]

    def gradient(theta):
        f = np.where(head, start + train @ theta, -np.inf)
        return np.einsum("ncp,nc->p", train, softmax(f, axis=1) - one_hot)

    theta = np.zeros(train.shape[-1])
    for _ in range(steps):
        theta = theta - lr * gradient(theta - lr / 2 * gradient(theta))
    return start + train @ theta, test_start + test @ theta


@pytest.mark.parametrize("head", [None, [True, True, False]], ids=["all outputs", "a head of two"])
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_it_is_descent_on_weights_in_small_steps(loss, head, rng, full):
    train, test, y, start, test_start = _problem(rng)
    y = y if head is None else y % 2
    scale = len(y) if loss == "mean" else 1
    flow = GradientFlow([0.0, 2.0 * scale, 0.5 * scale], loss)
    options = {"start": start, "test_kernel": full(test, train), "test_start": test_start}
    fit = cross_entropy_flow(full(train), y, flow, head=None if head is None else np.array(head), **options)
    inside = np.ones(3, bool) if head is None else np.array(head)
    for t, on_train, on_test in zip((0.0, 2.0, 0.5), fit.train, fit.test, strict=True):
        by_hand = _midpoint(train, test, y, start, test_start, inside, round(1000 * t), 1e-3)
        np.testing.assert_allclose(on_train, by_hand[0], atol=1e-6)
        np.testing.assert_allclose(on_test, by_hand[1], atol=1e-6)
    assert np.abs(fit.test[1] - fit.test[0]).max() > 0.1


def test_one_kernel_for_all_outputs_is_its_full_form(rng):
    x, x_test, y, start = (
        rng.normal(size=(6, 9)),
        rng.normal(size=(4, 9)),
        rng.integers(3, size=6),
        np.zeros((6, 3)),
    )
    kernel, cross = x @ x.T, x_test @ x.T
    wide = [np.einsum("nm,cd->ncmd", k, np.eye(3)) for k in (kernel, cross)]
    one = cross_entropy_flow(kernel, y, GradientFlow([0.1, 50.0]), start=start, test_kernel=cross)
    all_ = cross_entropy_flow(wide[0], y, GradientFlow([0.1, 50.0]), start=start, test_kernel=wide[1])
    np.testing.assert_allclose(one.train, all_.train, atol=1e-6)
    np.testing.assert_allclose(one.test, all_.test, atol=1e-6)
    np.testing.assert_allclose(one.train.sum(-1), 0, atol=1e-7)  # residuals sum to 0 over outputs
    order = rng.permutation(6)
    other = cross_entropy_flow(
        kernel[np.ix_(order, order)],
        y[order],
        GradientFlow([0.1, 50.0]),
        start=start,
        test_kernel=cross[:, order],
    )
    np.testing.assert_allclose(other.test, one.test, atol=1e-6)


def test_stiff_kernels_are_followed_for_long(rng):
    """Eigenvalues over six decades: an explicit method would need a hundred thousand steps."""
    vectors = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    kernel = (vectors * np.logspace(-3, 3, 8)) @ vectors.T
    y = rng.integers(2, size=8)
    times = [1.0, 100.0, 1000.0]
    fit = cross_entropy_flow(kernel, y, GradientFlow(times), start=np.zeros((8, 2)))

    def field(_time, f):
        return -(kernel @ (softmax(f.reshape(8, 2), axis=1) - np.eye(2)[y])).ravel()

    peer = solve_ivp(field, (0, 1000), np.zeros(16), method="Radau", t_eval=times, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fit.train, peer.y.T.reshape(3, 8, 2), atol=1e-5)
    losses = -log_softmax(fit.train, axis=-1)[:, np.arange(8), y].mean(-1)
    assert (np.diff(losses) < 0).all()


def test_the_jacobian_is_that_of_the_field(rng, full):
    from clntk.theory.blocks import Block
    from clntk.theory.cross_entropy import _Field

    train, _, y, start, _ = _problem(rng)
    for kernel in (full(train), full(train)[:, 0, :, 0]):
        field = _Field(Block.of(kernel, "kernel"), start, np.eye(3)[y], np.ones(3, bool))
        a, h = rng.normal(size=18), 1e-6
        columns = [(field(0, a + h * e) - field(0, a - h * e)) / (2 * h) for e in np.eye(18)]
        np.testing.assert_allclose(field.jacobian(0, a), np.stack(columns, axis=1), atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": GradientFlow()}, "expected finite times, found inf"),
        ({"labels": np.zeros(4)}, "labels: expected 4 class indices, found float64"),
        ({"labels": np.zeros(3, int)}, r"found int64 of shape \(3,\)"),
        ({"labels": np.full(4, 2)}, "indices of outputs in the head, of 2"),
        ({"labels": np.ones(4, int), "head": np.array([True, False])}, "labels: expected indices"),
        ({"head": np.array([1, 0])}, "head: expected 2 booleans, found int64"),
        ({"kernel": -np.eye(4)}, "without negative eigenvalues"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {
        "kernel": np.eye(4),
        "labels": np.zeros(4, int),
        "flow": GradientFlow(1.0),
        "start": np.zeros((4, 2)),
    }
    with pytest.raises(DataError, match=message):
        cross_entropy_flow(**(given | change))
