"""Predicted against actual change: sums over intervals, fits, and which examples lose."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import linregress
from sklearn.metrics import r2_score

from clntk import registry
from clntk.errors import DataError
from clntk.measures.predicted_change import predicted_output_change, prediction_fit
from clntk.measures.predicted_forgetting import example_losses, predicted_forgetting
from clntk.measures.summary import scalars

SHAPE = (3, 2, 4, 3)  # checkpoint, eval_task, probe, output
DIMS = ("checkpoint", "eval_task", "probe", "output")
NAMES = ("before", "actual", "tangent_start", "tangent_end", "kernel_start", "kernel_end")


def changes(seed=0, trained=((1, 0), (0, 1), (1, 0)), **given):
    """Task 0 is learned in the first interval, task 1 in the second; the last trains task 0 again."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=SHAPE) for name in NAMES} | given
    facts = xr.Dataset(
        {name: (DIMS, values) for name, values in drawn.items()},
        coords={
            "checkpoint": ["a", "b", "c"],
            "step": ("checkpoint", [5, 10, 15]),
            "eval_task": ["task0", "task1"],
        },
    )
    facts["trained"] = (("checkpoint", "eval_task"), np.array(trained, bool))
    return facts


@pytest.mark.parametrize("theory", ["tangent", "kernel"])
@pytest.mark.parametrize("rule", ["start", "trapezoid"])
def test_changes_are_summed_over_intervals(theory, rule):
    facts = changes()
    start, end = (facts[f"{theory}_{moment}"].values for moment in ("start", "end"))
    each = start if rule == "start" else 0.5 * start + 0.5 * end
    actual = facts.actual.values
    options = {"theory": theory, "rule": rule}
    previous, init, learned = (
        predicted_output_change(facts, **options, since=s) for s in ("previous", "init", "learned")
    )
    np.testing.assert_allclose(previous.predicted, each)
    np.testing.assert_allclose(previous.actual, actual)
    for k in range(3):
        np.testing.assert_allclose(init.predicted[k], sum(each[: k + 1]))
        np.testing.assert_allclose(init.actual[k], sum(actual[: k + 1]))
    assert learned.actual[0].isnull().all()
    assert learned.actual[1, 1].isnull().all()
    np.testing.assert_allclose(learned.predicted[1, 0], each[1, 0])
    np.testing.assert_allclose(learned.predicted[2, 0], each[1, 0] + each[2, 0])
    np.testing.assert_allclose(learned.actual[2, 0], actual[1, 0] + actual[2, 0])
    np.testing.assert_allclose(learned.actual[2, 1], actual[2, 1])
    assert learned.actual.dims == DIMS
    assert learned.step.values.tolist() == [5, 10, 15]


def test_axes_in_any_order_give_the_same():
    facts = changes()
    for measure in (predicted_output_change, prediction_fit):
        xr.testing.assert_allclose(measure(facts.transpose()), measure(facts))


def test_fit_against_two_libraries():
    facts = changes(1)
    result = prediction_fit(facts, since="init")
    pair = predicted_output_change(facts, since="init")
    for k in range(3):
        for t in range(2):
            p, a = (pair[name].values[k, t].ravel() for name in ("predicted", "actual"))
            row = result.isel(checkpoint=k, eval_task=t)
            assert float(row.r2) == pytest.approx(r2_score(a, p), rel=1e-12)
            assert float(row.slope) == pytest.approx(linregress(p, a).slope, rel=1e-12)
            assert float(row.correlation) == pytest.approx(np.corrcoef(p, a)[0, 1], rel=1e-12)
            missed = math.sqrt(math.fsum((p - a) ** 2) / math.fsum(a**2))
            assert float(row.relative_error) == pytest.approx(missed, rel=1e-12)


def fitted(**given):
    return prediction_fit(changes(**given), since="previous", rule="start").isel(checkpoint=1, eval_task=0)


def test_fits_that_are_known():
    a = np.random.default_rng(2).normal(size=SHAPE)
    exact = fitted(actual=a, tangent_start=a)
    assert [float(exact[name]) for name in exact.data_vars] == pytest.approx([1, 1, 1, 0], abs=1e-12)
    half = fitted(actual=a, tangent_start=a / 2)
    assert [float(half[name]) for name in ("slope", "correlation", "relative_error")] == pytest.approx(
        [2, 1, 0.5]
    )
    assert float(half.r2) < 1
    wrong = fitted(actual=a, tangent_start=-a)
    assert [float(wrong[name]) for name in ("slope", "correlation", "relative_error")] == pytest.approx(
        [-1, -1, 2]
    )
    assert float(wrong.r2) < 0


def test_no_change_and_no_prediction():
    a = np.random.default_rng(3).normal(size=SHAPE)
    nothing = fitted(actual=np.zeros(SHAPE), tangent_start=a)
    assert nothing.to_array().isnull().all()
    still = fitted(actual=a, tangent_start=np.zeros(SHAPE))
    assert float(still.relative_error) == 1.0
    assert float(still.r2) == pytest.approx(r2_score(a[1, 0].ravel(), np.zeros(12)))
    assert np.isnan(still.slope)
    assert np.isnan(still.correlation)
    level = fitted(actual=np.full(SHAPE, 0.1), tangent_start=a)  # constant, but for rounding of its mean
    assert np.isnan(level.r2)
    missing = fitted(actual=a, tangent_start=np.full(SHAPE, np.nan))
    assert missing.to_array().isnull().all()


def test_options_are_checked():
    for option in ("theory", "rule", "since"):
        with pytest.raises(DataError, match=r"found .*'other'"):
            prediction_fit(changes(), **{option: "other"})
        with pytest.raises(ValueError, match=option):
            registry.get("measure", "prediction_fit").resolve({option: "other"})


# --- which examples lose ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_losses_of_examples_against_torch(kind):
    rng = np.random.default_rng(4)
    f = rng.normal(size=(5, 2, 4, 3))
    head = np.array([[1, 1, 0], [0, 1, 1]], bool)
    y = rng.integers(1, 2, size=(2, 4)) if kind == "labels" else rng.normal(size=(2, 4, 3))
    result = example_losses(f, y, head)
    assert result.shape == (5, 2, 4)
    for k in range(5):
        for t in range(2):
            g = torch.from_numpy(f[k, t][:, head[t]])
            if kind == "labels":
                place = torch.full((4,), {0: 1, 1: 0}[t])  # where label 1 stands in the head
                expected = torch.nn.functional.cross_entropy(g, place, reduction="none")
            else:
                expected = 0.5 * ((g - torch.from_numpy(y[t][:, head[t]])) ** 2).sum(1)
            np.testing.assert_allclose(result[k, t], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_forgetting_is_the_loss_gained_since_the_task_was_learned(make_probes, kind):
    facts = changes(5)
    rng = np.random.default_rng(6)
    y = rng.integers(1, 2, size=(2, 4)) if kind == "labels" else rng.normal(size=(2, 4, 3))
    head = np.array([[1, 1, 0], [0, 1, 1]], bool)
    probes = make_probes(np.zeros((2, 4, 1)), y).assign(heads=(("eval_task", "output"), head))
    result = predicted_forgetting(facts, probes, rule="start")
    assert result.actual.dims == ("checkpoint", "eval_task", "probe")
    for t, learned_at in ((0, 1), (1, 2)):  # the interval that starts where the task has just been learned
        f = facts.before.values[learned_at]
        for k in range(3):
            for name, source in (("actual", facts.actual), ("predicted", facts.tangent_start)):
                found = result[name].values[k, t]
                if k < learned_at:
                    assert np.isnan(found).all()
                    continue
                later = f + source.values[learned_at : k + 1].sum(0)
                expected = example_losses(later, y, head)[t] - example_losses(f, y, head)[t]
                np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_task_never_learned_cannot_be_forgotten(make_probes):
    facts = changes(trained=((1, 0), (1, 0), (1, 0)))
    probes = make_probes(np.zeros((2, 4, 1)), [[0, 1, 0, 1], [1, 1, 0, 0]])
    probes["heads"] = (("eval_task", "output"), np.array([[1, 1, 0], [1, 1, 1]], bool))
    result = predicted_forgetting(facts, probes)
    assert result.isel(eval_task=1).to_array().isnull().all()
    numbers = scalars("x", result)
    assert numbers["x.actual"] == pytest.approx(result.actual.values[-1, 0].mean())
    swapped = predicted_forgetting(facts, probes.isel(eval_task=[1, 0]))
    xr.testing.assert_identical(swapped, result)
