"""Cross-task overlap against a loop over pairs and kernels with known overlap."""

import math

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.measures.interference import cross_task_overlap
from clntk.measures.summary import scalars


def kernels(features):
    """The kernels of tangent features, shape (checkpoint, task, probe, weight)."""
    features = np.asarray(features, float)
    n_checkpoints, n_tasks = features.shape[:2]
    return xr.DataArray(
        np.einsum("ksnp,ktmp->kstnm", features, features),
        dims=("checkpoint", "eval_task", "other_task", "probe", "other_probe"),
        coords={
            "checkpoint": ["init", *(f"phase{k}" for k in range(1, n_checkpoints))],
            "eval_task": [f"task{t}" for t in range(n_tasks)],
            "other_task": [f"task{t}" for t in range(n_tasks)],
        },
    )


@pytest.fixture
def facts():
    return kernels(np.random.default_rng(0).normal(size=(3, 4, 5, 7)))


def test_against_a_loop_over_pairs(facts):
    result = cross_task_overlap(facts)
    assert result.dims == ("checkpoint", "eval_task", "other_task")
    for k in range(3):
        for s in range(4):
            for t in range(4):
                norms = [
                    math.sqrt(math.fsum(facts.values[k, a, b].ravel() ** 2))
                    for a, b in ((s, t), (s, s), (t, t))
                ]
                expected = norms[0] / math.sqrt(norms[1] * norms[2])
                assert result.values[k, s, t] == pytest.approx(expected, rel=1e-12)


def test_the_diagonal_is_exactly_one(facts):
    np.testing.assert_array_equal(np.diagonal(cross_task_overlap(facts), axis1=1, axis2=2), 1.0)


def test_separate_same_and_scaled_features():
    result = cross_task_overlap(kernels([[[[1, 0, 0]], [[0, 2, 0]], [[5, 0, 0]]]]))
    np.testing.assert_allclose(result[0], [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-15)


def test_one_dimensional_features_give_the_cosine():
    angle = 0.3
    result = cross_task_overlap(kernels([[[[1, 0]], [[math.cos(angle), math.sin(angle)]]]]))
    assert result.values[0, 0, 1] == pytest.approx(math.cos(angle), rel=1e-14)


def test_tasks_are_paired_by_label(facts):
    xr.testing.assert_identical(
        cross_task_overlap(facts.isel(other_task=[3, 1, 0, 2])), cross_task_overlap(facts)
    )


def test_a_task_without_tangent_features_is_nan():
    result = cross_task_overlap(kernels([[[[1, 0]], [[0, 0]], [[1, 1]]]]))
    np.testing.assert_array_equal(np.isnan(result[0]), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def test_the_number_is_over_different_tasks_at_the_end(facts):
    entry = registry.get("measure", "cross_task_overlap")
    result = entry.function(facts)
    pairs = [result.values[-1, s, t] for s in range(4) for t in range(4) if s != t]
    assert scalars("overlap", result, entry.traits["scalar"]) == {"overlap": pytest.approx(sum(pairs) / 12)}


def test_one_task_has_no_pairs():
    result = cross_task_overlap(kernels([[[[1.0, 2.0]]]]))
    assert np.isnan(
        scalars("overlap", result, registry.get("measure", "cross_task_overlap").traits["scalar"])["overlap"]
    )
