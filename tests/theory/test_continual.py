"""Tasks in sequence in closed form, against linear models that are trained on them one after another."""

import numpy as np
import pytest

from clntk.errors import DataError
from clntk.theory.blocks import join_blocks
from clntk.theory.continual import continual_regression
from clntk.theory.projection import StoredGradients, project_out
from clntk.theory.schedules import GradientDescent, GradientFlow

SIZES, TEST_SIZES = (4, 5, 3), (2, 3, 2)
P, C = 60, 2


def _split(rows, sizes=SIZES):
    return np.split(rows, np.cumsum(sizes)[:-1])


@pytest.fixture
def problem(rng, full):
    """A linear model's gradients, (N, C, P), targets and starts of three tasks, which share much."""
    common = rng.normal(size=(1, C, P))
    train, test = (common + rng.normal(size=(sum(s), C, P)) for s in (SIZES, TEST_SIZES))
    train, test = train / np.sqrt(P), test / np.sqrt(P)
    y, y_test = rng.normal(size=(sum(SIZES), C)), rng.normal(size=(sum(TEST_SIZES), C))
    theta = 0.3 * rng.normal(size=P)
    given = {
        "kernel": full(train),
        "targets": _split(y),
        "start": _split(train @ theta),
        "test_kernel": full(test, train),
        "test_targets": _split(y_test, TEST_SIZES),
        "test_start": _split(test @ theta, TEST_SIZES),
    }
    return given, train, test, theta


def _directions(rows, stored):
    """What is stored of a task, from its gradients themselves: (R, P) → (directions, P)."""
    if stored.directions is None:
        return rows
    _, sizes, right = np.linalg.svd(rows, full_matrices=False)
    return right[: min(stored.directions, (sizes > 1e-8 * sizes[0]).sum())]


def _trained(problem, *, lr, steps, stored=None, ridge=0.0):
    """Gradient descent on weights, task after task; outputs on training and test examples at all boundaries."""
    given, train, test, theta = problem
    kept, history = np.zeros((0, P)), [(train @ theta, test @ theta)]
    for t, (j, y) in enumerate(zip(_split(train), given["targets"], strict=True)):
        begin = theta
        q = np.linalg.qr(kept.T)[0] if len(kept) else np.zeros((P, 0))
        for _ in range(steps):
            step = np.einsum("ncp,nc->p", j, j @ theta - y)
            step = step - q @ (q.T @ step)
            theta = theta - lr * (step + ridge * (theta - begin))
        history.append((train @ theta, test @ theta))
        if stored is not None:
            rows = j.reshape(-1, P)
            rows = rows if stored.rows is None else rows[list(stored.rows[t])]
            kept = np.concatenate([kept, _directions(rows, stored)])
    return [np.stack(h) for h in zip(*history, strict=True)]


def _agree(found, trained, atol=1e-8):
    for history, outputs, sizes in zip((found.train, found.test), trained, (SIZES, TEST_SIZES), strict=True):
        for mine, theirs in zip(
            history.outputs, np.split(outputs, np.cumsum(sizes)[:-1], axis=1), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, atol=atol)


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_sequential_gradient_descent_on_a_linear_model(ridge, problem):
    found = continual_regression(**problem[0], schedule=GradientDescent(30, 0.1), ridge=ridge)
    _agree(found, _trained(problem, lr=0.1, steps=30, ridge=ridge), atol=1e-11)
    assert found.train.forgetting[-1, 0] > 0.1


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_to_convergence(ridge, problem):
    found = continual_regression(**problem[0], ridge=ridge)
    _agree(found, _trained(problem, lr=0.2, steps=3000, ridge=ridge))
    if not ridge:
        np.testing.assert_allclose(np.diagonal(found.train.losses[1:]), 0, atol=1e-15)


PROTECTED = {
    "all": StoredGradients(),
    "some rows": StoredGradients(rows=[[0, 3], [1, 2, 9], [0]]),
    "principal directions": StoredGradients(directions=3),
    "principal directions of some": StoredGradients(rows=[[0, 3, 5], [1, 2, 7], [0, 1]], directions=2),
    "more directions than there are": StoredGradients(directions=50),
}


@pytest.mark.parametrize("stored", PROTECTED.values(), ids=list(PROTECTED))
@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_orthogonal_gradient_descent_on_a_linear_model(stored, ridge, problem):
    found = continual_regression(**problem[0], schedule=GradientDescent(25, 0.1), stored=stored, ridge=ridge)
    _agree(found, _trained(problem, lr=0.1, steps=25, stored=stored, ridge=ridge))
    late = continual_regression(**problem[0], stored=stored, ridge=ridge)
    _agree(late, _trained(problem, lr=0.2, steps=3000, stored=stored, ridge=ridge))


def test_what_is_stored_is_not_forgotten(problem):
    protected = continual_regression(**problem[0], stored=StoredGradients())
    free = continual_regression(**problem[0])
    assert np.nanmax(np.abs(protected.train.forgetting)) < 1e-14
    assert np.nanmax(protected.train.drift) < 1e-14
    assert free.train.forgetting[-1, 0] > 0.1
    assert np.nanmin(protected.test.drift[1:, 0]) > 1e-3  # it is on other examples
    rows = [[0, 3], [1, 2, 9], [0]]
    some = continual_regression(**problem[0], stored=StoredGradients(rows=rows)).train
    flat = some.outputs[0].reshape(4, -1)
    np.testing.assert_allclose(flat[2:, rows[0]], np.broadcast_to(flat[1, rows[0]], (2, 2)), atol=1e-12)
    assert np.abs(flat[2:, [1, 2]] - flat[1, [1, 2]]).max() > 1e-2


def test_principal_directions_protect_by_what_they_span(problem):
    """Equal memory: three directions of each task keep more of the outputs than three of its examples' gradients."""
    by_rows = [
        continual_regression(**problem[0], stored=StoredGradients(rows=[rows] * 3)).train.drift[-1, 0]
        for rows in ([0, 1, 2], [3, 4, 5], [0, 2, 4], [1, 3, 5])
    ]
    by_directions = continual_regression(**problem[0], stored=StoredGradients(directions=3)).train.drift[
        -1, 0
    ]
    assert by_directions < np.mean(by_rows)


def test_features_tell_the_same_as_kernels(problem, full):
    """The second task alone, by the kernel of features without their part in the span of the first's."""
    given, train, *_ = problem
    first, second = _split(train)[:2]
    flat = project_out(second.reshape(-1, P), first.reshape(-1, P)).reshape(second.shape)
    protected = continual_regression(**given, stored=StoredGradients()).train
    plain = continual_regression(full(flat), [given["targets"][1]], start=[protected.outputs[1][1]]).train
    np.testing.assert_allclose(plain.outputs[0][1], protected.outputs[1][2], atol=1e-10)
    np.testing.assert_allclose(flat.reshape(-1, P) @ first.reshape(-1, P).T, 0, atol=1e-14)
    with pytest.raises(DataError, match="rows as long as the features"):
        project_out(np.ones((2, 3)), np.ones((1, 4)))


def test_a_task_within_what_is_stored_learns_nothing(problem):
    given = problem[0]
    rows = slice(0, 4)
    twice = {
        "kernel": join_blocks([[given["kernel"][rows, :, rows]] * 2] * 2),
        "targets": [given["targets"][0], -given["targets"][0]],
    }
    with pytest.raises(DataError, match=r"task 1, kernel: expected one of full rank .* found 8 of 8"):
        continual_regression(**twice, stored=StoredGradients())
    for schedule in (GradientFlow(), GradientFlow(1e9)):
        found = continual_regression(
            **twice, schedule=schedule, stored=StoredGradients(), singular="keep"
        ).train
        np.testing.assert_allclose(found.outputs[1][2], twice["targets"][0], atol=1e-8)
    free = continual_regression(**twice).train
    np.testing.assert_allclose(free.outputs[0][2], -twice["targets"][0], atol=1e-10)


def test_what_is_stored_twice_counts_once(problem):
    """The first two tasks share their examples, so that the stored directions are not independent."""
    given, train, *_ = problem
    first, third = train[:4], train[9:]
    jacobian = np.concatenate([first, 2 * first, third])
    targets = [given["targets"][0], 2 * given["targets"][0], given["targets"][2]]
    kernel = np.einsum("ncp,mdp->ncmd", jacobian, jacobian)
    found = continual_regression(kernel, targets, stored=StoredGradients(), singular="keep").train
    rows = first.reshape(-1, P)
    free = project_out(third.reshape(-1, P), rows)
    theta = np.linalg.lstsq(rows, targets[0].ravel(), rcond=None)[0]
    theta = theta + np.linalg.pinv(free) @ (targets[2].ravel() - third.reshape(-1, P) @ theta)
    for s, j in enumerate((first, 2 * first, third)):
        np.testing.assert_allclose(found.outputs[s][3], j @ theta, atol=1e-8)


def test_forgetting_and_transfer_by_their_definitions(problem):
    found = continual_regression(**problem[0]).test
    loss = np.empty((4, 3))
    for t in range(4):
        for s in range(3):
            r = found.outputs[s][t] - found.targets[s]
            loss[t, s] = np.mean([0.5 * sum(v**2 for v in row) for row in r])
    np.testing.assert_allclose(found.losses, loss)
    lost = [[loss[t + 1, s] - loss[s + 1, s] if s < t else np.nan for s in range(3)] for t in range(3)]
    np.testing.assert_allclose(found.forgetting, lost, atol=1e-12)
    assert found.backward_transfer == pytest.approx(-(lost[2][0] + lost[2][1]) / 2)
    np.testing.assert_allclose(
        found.forward_transfer, [loss[0, s] - loss[s, s] for s in range(3)], atol=1e-12
    )
    assert found.forward_transfer[0] == 0
    drift = ((found.outputs[0][3] - found.outputs[0][1]) ** 2).sum()
    assert found.drift[2, 0] == pytest.approx(drift)
    assert np.isnan(found.drift[0]).all()
    np.testing.assert_allclose(found.residuals[1], found.outputs[1] - found.targets[1])


def test_one_kernel_for_all_outputs_and_blocks(problem, rng):
    x = rng.normal(size=(sum(SIZES), P)) / np.sqrt(P)
    kernel, y = x @ x.T, problem[0]["targets"]
    parts = _split(x)
    assert np.array_equal(join_blocks([[a @ b.T for b in parts] for a in parts]).shape, kernel.shape)
    np.testing.assert_allclose(join_blocks([[a @ b.T for b in parts] for a in parts]), kernel)
    wide = np.einsum("nm,cd->ncmd", kernel, np.eye(C))
    for stored, wide_stored in (
        (None, None),
        (StoredGradients(), StoredGradients()),
        (StoredGradients(directions=2), StoredGradients(directions=2 * C)),
        (StoredGradients([[0], [1], [2]]), StoredGradients([[0, 1], [2, 3], [4, 5]])),
    ):
        one = continual_regression(kernel, y, GradientFlow(2.0, "mean"), stored=stored).train
        all_ = continual_regression(wide, y, GradientFlow(2.0, "mean"), stored=wide_stored).train
        for a, b in zip(one.outputs, all_.outputs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)


def test_schedules_of_their_own(problem):
    stepwise = continual_regression(
        **problem[0], schedule=[GradientFlow(0.5), GradientDescent(3, 0.1), GradientFlow()]
    ).train
    same = continual_regression(
        **problem[0], schedule=[GradientFlow(0.5), GradientFlow(0.0), GradientFlow()]
    ).train
    np.testing.assert_allclose(stepwise.outputs[0][:2], same.outputs[0][:2])
    assert np.array_equal(same.outputs[0][1], same.outputs[0][2])
    assert not np.allclose(stepwise.outputs[0][2], same.outputs[0][2])


def test_jitter_is_what_was_asked_for(problem):
    given = problem[0]
    size = sum(SIZES) * C
    by_hand = (given["kernel"].reshape(size, size) + 0.1 * np.eye(size)).reshape(given["kernel"].shape)
    asked, plain = (
        continual_regression(**given, jitter=0.1),
        continual_regression(**(given | {"kernel": by_hand})),
    )
    np.testing.assert_allclose(asked.train.outputs[0], plain.train.outputs[0], atol=1e-12)
    np.testing.assert_allclose(asked.test.outputs[0], plain.test.outputs[0], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": []}, r"targets: expected an array \(examples, C\) for each task, one at least"),
        ({"targets": [np.zeros((4, 2))]}, "kernel: expected the examples of all tasks, 4, found 12"),
        ({"start": [np.zeros((4, 2))]}, "start: expected an array .* 3 at least"),
        ({"test_targets": None}, "test_targets: expected an array"),
        (
            {"schedule": GradientFlow([1.0, 2.0])},
            "schedule: expected one, or 3, one a task, of a single moment",
        ),
        ({"schedule": [GradientFlow()]}, "schedule: expected one, or 3"),
        ({"schedule": GradientDescent(3, 10.0)}, "task 0, GradientDescent.lr: expected steps below"),
        (
            {"stored": StoredGradients(rows=[[0]])},
            r"StoredGradients.rows: expected rows of every task, found them of 1",
        ),
        (
            {"stored": StoredGradients(rows=[[8], [0], [0]])},
            r"StoredGradients.rows\[0\]: expected indices from 0 to 7, found 8",
        ),
        ({"ridge": -1.0}, "ridge: expected a finite number"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, problem):
    with pytest.raises(DataError, match=message):
        continual_regression(**(problem[0] | change))


def test_blocks_that_do_not_fit_together():
    with pytest.raises(DataError, match=r"found shapes \[\[\(2, 2\), \(3, 2\)\]\]"):
        join_blocks([[np.ones((2, 2)), np.ones((3, 2))]])
    with pytest.raises(DataError, match=r"StoredGradients.directions: expected at least 1, found 0"):
        StoredGradients(directions=0)


def test_a_single_task_is_never_forgotten():
    alone = continual_regression(np.eye(2), [np.ones((2, 1))]).train
    assert np.isnan(alone.forgetting).all()
    assert np.isnan(alone.backward_transfer)
    np.testing.assert_array_equal(alone.forward_transfer, [0.0])
