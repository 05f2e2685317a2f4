"""Streams with known ground truth: the truth is there, and it is what the docstrings say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.stats import norm

from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.streams.draws import draws
from clntk.streams.gaussian_tasks import gaussians
from clntk.streams.planted import frame, turned
from clntk.streams.shared_subspace import subspaces
from clntk.streams.teacher_student import function_angles, taught, teachers

FAMILIES = ["gaussian_tasks", "teacher_student", "shared_subspace", "cued_sequences"]
every_family = pytest.mark.parametrize("family", FAMILIES)


def _stream(family, seed=0, **options):
    return registry.get("stream", family)(Seeds(seed), **options)


def _degrees(a, b):
    return math.degrees(math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


# --- building blocks --------------------------------------------------------------------------------------


def test_a_frame_is_orthonormal_and_evenly_distributed():
    generator = np.random.default_rng(0)
    q = frame(5, 3, generator)
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-12)
    entries = np.array([frame(3, 3, generator)[0, 0] for _ in range(2000)])
    assert abs(entries.mean()) < 4 * math.sqrt(1 / 3 / 2000)  # without the signs of R it would be one-sided
    assert np.square(entries).mean() == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("angle", [0, 35, 90, 180])
def test_a_direction_is_turned_by_an_angle(angle):
    first, second = np.eye(4)[:2]
    assert _degrees(turned(first, second, angle), first) == pytest.approx(angle)


# --- what all share ---------------------------------------------------------------------------------------


@every_family
def test_sets_have_the_sizes_asked_for_and_tasks_their_own_examples(family):
    stream = _stream(family, n_train=30, n_test=20, n_probe=10)
    for task in stream.tasks:
        assert (len(task.train), len(task.test), len(task.probe)) == (30, 20, 10)
        rows = {tuple(x.ravel().tolist()) for x in task.test.x}
        assert all(tuple(x.ravel().tolist()) in rows for x in task.probe.x)
        assert not rows & {tuple(x.ravel().tolist()) for x in task.train.x}
    with pytest.raises(DataError, match="n_probe: expected at most the 20 test examples"):
        _stream(family, n_test=20, n_probe=21)


@pytest.mark.parametrize("family", ["gaussian_tasks", "teacher_student"])
def test_more_tasks_leave_the_first_ones_as_they_are(family):
    few, many = _stream(family, n_tasks=2), _stream(family, n_tasks=4)
    for a, b in zip(few.tasks, many.tasks[:2], strict=True):
        assert torch.equal(a.train.x, b.train.x)
        torch.testing.assert_close(a.train.y, b.train.y)
        assert torch.equal(a.probe.x, b.probe.x)


# --- gaussian_tasks ---------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    angle=st.floats(0, 180),
    separation=st.floats(0.1, 6),
    condition=st.floats(1, 100),
    seed=st.integers(0, 100),
)
def test_rules_stand_at_the_angle_and_classes_at_the_distance(angle, separation, condition, seed):
    drawn = gaussians([0, angle], 6, separation, condition, np.random.default_rng(seed))
    covariance = drawn.root @ drawn.root
    rules = np.linalg.solve(covariance, drawn.means.T).T
    assert _degrees(*rules) == pytest.approx(angle, abs=1e-4)
    for mean in drawn.means:
        distance = 2 * math.sqrt(mean @ np.linalg.solve(covariance, mean))
        assert distance == pytest.approx(separation, rel=1e-8)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(condition, rel=1e-6)
    assert np.log(eigenvalues).mean() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("condition", [1.0, 20.0])
def test_the_bayes_classifier_errs_as_often_as_said(condition):
    """Log-likelihoods of both classes, written out; 20,000 examples, so four standard errors are 1 point."""
    options = {"n_features": 8, "separation": 2.0, "condition": condition, "angle": 60.0}
    stream = _stream("gaussian_tasks", n_test=20_000, **options)
    drawn = gaussians([0, 60], 8, 2.0, condition, draws(Seeds(0), "gaussians"))
    precision = np.linalg.inv(drawn.root @ drawn.root)
    for task, mean in zip(stream.tasks, drawn.means, strict=True):
        x, y = task.test.x.double().numpy(), task.test.y.numpy()
        scores = [-0.5 * np.einsum("ni,ij,nj->n", x - m, precision, x - m) for m in (-mean, mean)]
        error = np.mean((scores[1] > scores[0]) != y)
        assert error == pytest.approx(norm.cdf(-1), abs=0.0105)


def test_one_tasks_rule_on_another_is_worth_the_cosine():
    """With a round covariance the rule at angle a from the best one is right with probability Φ(cos a · s/2)."""
    stream = _stream("gaussian_tasks", n_tasks=3, angle=50.0, separation=3.0, n_test=20_000)
    means = gaussians([0, 50, 100], 20, 3.0, 1.0, draws(Seeds(0), "gaussians")).means
    for s, rule in enumerate(means):
        for t, task in enumerate(stream.tasks):
            right = np.mean((task.test.x.double().numpy() @ rule > 0) == task.test.y.numpy())
            angle = stream.angles[s][t]
            assert angle == pytest.approx(50 * abs(s - t))
            assert right == pytest.approx(norm.cdf(1.5 * math.cos(math.radians(angle))), abs=0.0145)


def test_classes_are_equally_frequent_and_noise_has_the_covariance():
    stream = _stream("gaussian_tasks", n_features=4, condition=9.0, n_train=50_000)
    drawn = gaussians([0, 90], 4, 3.0, 9.0, draws(Seeds(0), "gaussians"))
    x, y = stream.tasks[1].train.x.double().numpy(), stream.tasks[1].train.y.numpy()
    assert y.mean() == pytest.approx(0.5, abs=0.01)
    noise = x - np.where(y[:, None] == 1, drawn.means[1], -drawn.means[1])
    np.testing.assert_allclose(np.cov(noise.T), drawn.root @ drawn.root, atol=0.05)


# --- teacher_student --------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [-0.4, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("readout", [-1.0, 0.3, 1.0])
def test_teachers_are_as_alike_as_asked(features, readout):
    (w1, v1), (w2, v2) = teachers(2, 10, 3, (features, readout), np.random.default_rng(0))
    np.testing.assert_allclose(w1.T @ w2, features * np.eye(3), atol=1e-7)
    for w, v in ((w1, v1), (w2, v2)):
        np.testing.assert_allclose(w.T @ w, np.eye(3), atol=1e-7)
        assert v @ v == pytest.approx(1)
    assert v1 @ v2 == pytest.approx(readout, abs=1e-7)


def test_later_teachers_turn_on():
    drawn = teachers(3, 10, 2, (0.5, 0.8), np.random.default_rng(0))
    np.testing.assert_allclose(drawn[1][0].T @ drawn[2][0], 0.5 * np.eye(2), atol=1e-7)
    np.testing.assert_allclose(drawn[0][0].T @ drawn[2][0], -0.5 * np.eye(2), atol=1e-7)  # cos 120°


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_targets_are_the_teachers_answers(activation):
    """One example at a time, with the standard library's erf."""
    stream = _stream("teacher_student", activation=activation, n_train=20, n_hidden=3)
    drawn = teachers(2, 20, 3, (0.5, 1.0), draws(Seeds(0), "teachers"))

    def g(z):
        return math.erf(z / math.sqrt(2)) if activation == "erf" else max(z, 0.0)

    for task, (features, readout) in zip(stream.tasks, drawn, strict=True):
        for x, y in zip(task.train.x.double().numpy(), task.train.y.numpy(), strict=True):
            expected = sum(v * g(sum(x * w)) for v, w in zip(readout, features.T, strict=True))
            assert y[0] == pytest.approx(expected, abs=1e-5)
    assert (stream.target, stream.accuracy, stream.outputs) == ("value", "none", 1)


def test_noise_is_on_training_targets_only():
    clean, noisy = (
        _stream("teacher_student", n_train=5000),
        _stream("teacher_student", n_train=5000, noise=0.5),
    )
    for a, b in zip(clean.tasks, noisy.tasks, strict=True):
        assert torch.equal(a.train.x, b.train.x)
        assert torch.equal(a.test.y, b.test.y)
        assert (b.train.y - a.train.y).std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_the_angle_between_teachers_as_functions(activation):
    """Against the mean over 400,000 inputs."""
    generator = np.random.default_rng(0)
    drawn = teachers(3, 6, 2, (0.8, 0.6), generator)
    x = generator.standard_normal((400_000, 6))
    answers = np.hstack([taught(x, teacher, activation) for teacher in drawn])
    products = answers.T @ answers
    cosines = products / np.sqrt(np.outer(np.diag(products), np.diag(products)))
    expected = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(function_angles(drawn, activation), expected, atol=0.5)


def test_alike_teachers_are_one_and_orthogonal_ones_are_apart():
    same = _stream("teacher_student", feature_similarity=1.0)
    assert same.angles[0][1] == pytest.approx(0, abs=1e-4)
    assert _stream("teacher_student", feature_similarity=0.0).angles[0][1] == pytest.approx(90)
    assert _stream("teacher_student", feature_similarity=1.0, readout_similarity=-1.0).angles[0][
        1
    ] == pytest.approx(180)


def test_teachers_that_cannot_be_are_refused():
    with pytest.raises(DataError, match=r"n_hidden: expected at most half of 20 inputs.*found 11"):
        _stream("teacher_student", n_hidden=11)
    with pytest.raises(DataError, match="readout_similarity: expected 1 or -1 where n_hidden is 1"):
        _stream("teacher_student", n_hidden=1, readout_similarity=0.5)
    opposed = _stream("teacher_student", n_hidden=1, feature_similarity=1.0, readout_similarity=-1.0)
    assert opposed.angles[0][1] == pytest.approx(180)


# --- shared_subspace --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("relevant", "shared"), [(4, 0), (4, 1), (3, 3), (5, 2)])
def test_principal_angles_are_nought_and_ninety_degrees(relevant, shared):
    bases = subspaces(3, 20, relevant, shared, np.random.default_rng(0))
    for s, first in enumerate(bases):
        np.testing.assert_allclose(first.T @ first, np.eye(relevant), atol=1e-12)
        for second in bases[:s]:
            angles = np.degrees(np.sort(subspace_angles(first, second)))
            expected = [0] * shared + [90] * (relevant - shared)
            np.testing.assert_allclose(angles, expected, atol=1e-5)


def test_labels_depend_on_the_relevant_directions_alone():
    stream = _stream("shared_subspace", n_tasks=3, background=0.3, n_train=4000)
    bases = subspaces(3, 20, 4, 2, draws(Seeds(0), "subspaces"))
    for task, basis in zip(stream.tasks, bases, strict=True):
        x = task.train.x.double().numpy()
        z = x @ basis
        assert np.array_equal(z.argmax(axis=1), task.train.y.numpy())
        np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=0.15)
        rest = x - z @ basis.T
        assert np.square(rest).sum(axis=1).mean() == pytest.approx(16 * 0.3**2, rel=0.05)
    np.testing.assert_allclose(stream.angles, 45 * (1 - np.eye(3)))
    assert (stream.outputs, stream.chance) == (4, 0.25)


@pytest.mark.parametrize(("shared", "overlap"), [(0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0)])
def test_inputs_overlap_by_the_share_of_directions(shared, overlap):
    found = _stream("shared_subspace", n_shared=shared, background=0.01).descriptors
    assert found.input_dimension.values.tolist() == [4, 4]
    assert found.input_overlap.values[0, 1] == pytest.approx(overlap, abs=0.01)
    assert found.task_angle.values[0, 1] == pytest.approx(90 * (1 - shared / 4))


def test_directions_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="n_shared: expected at most the 4 relevant directions, found 5"):
        _stream("shared_subspace", n_shared=5)
    with pytest.raises(
        DataError, match="n_features: expected at least 22, 2 shared and 2 for each of 10 tasks"
    ):
        _stream("shared_subspace", n_tasks=10)
    assert len(_stream("shared_subspace", n_tasks=9).tasks) == 9


# --- cued_sequences ---------------------------------------------------------------------------------------


def _answer(rule, trial):
    """What a trial (time × 2) asks for, added up one number at a time."""
    first, second = (sum(column) for column in trial.T.tolist())
    quarter = len(trial) // 4
    early, late = sum(trial[:quarter, 0].tolist()), sum(trial[-quarter:, 0].tolist())
    return {
        "integrate_first": first > 0,
        "integrate_second": second > 0,
        "running_sum": first + second > 0,
        "delayed_match": (early > 0) == (late > 0),
    }[rule]


@pytest.mark.parametrize("length", [4, 11, 20])
def test_answers_follow_the_rule_and_cues_tell_it(length):
    # noise small enough that a quarter never shows the wrong sign
    stream = _stream("cued_sequences", length=length, noise=0.1)
    assert stream.task_names == ["integrate_first", "integrate_second", "running_sum", "delayed_match"]
    assert stream.shape.inputs == (length, 6)
    assert stream.input_groups == {"stimulus": (0, 2), "context": (2, 6)}
    for t, task in enumerate(stream.tasks):
        assert torch.equal(task.train.x[:, :, 2:], torch.eye(4)[t].expand(400, length, 4))
        for x, y in zip(task.train.x[:, :, :2].double().numpy(), task.train.y.tolist(), strict=True):
            assert y == _answer(task.name, x)
        assert 0.4 < task.train.y.float().mean() < 0.6


def test_noise_is_independent_over_time_and_channels():
    x = (
        _stream("cued_sequences", rules=["delayed_match", "running_sum"], n_train=4000)
        .tasks[0]
        .train.x[:, 5:15, :2]
    )
    assert x.std().item() == pytest.approx(0.5, rel=0.03)
    correlation = torch.corrcoef(x.reshape(4000, -1).T) - torch.eye(20)
    assert correlation.abs().max() < 0.08  # five standard errors


def test_rules_are_chosen_in_order_and_once():
    assert _stream("cued_sequences", rules=["running_sum", "delayed_match"]).task_names == [
        "running_sum",
        "delayed_match",
    ]
    with pytest.raises(
        DataError, match="expected every task to have a name of its own, found 'running_sum' twice"
    ):
        _stream("cued_sequences", rules=["running_sum", "running_sum"])
