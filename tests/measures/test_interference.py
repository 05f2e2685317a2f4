"""Interference against loops over pairs, kernels with known overlap, and the gradients themselves."""

import math

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.measures.interference import (
    cross_task_overlap,
    gradient_cosine,
    gradient_dot,
    layer_interference,
)
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


# --- gradients --------------------------------------------------------------------------------------------

LAYERS = ("first", "second")


def gradients(parts):
    """Dot products of gradients given as checkpoint → layer → task × weight."""
    products = [[np.asarray(g, float) @ np.asarray(g, float).T for g in layers] for layers in parts]
    n = len(products[0][0])
    tasks = [f"task{t}" for t in range(n)]
    return xr.DataArray(
        np.asarray(products),
        dims=("checkpoint", "layer", "eval_task", "other_task"),
        coords={
            "checkpoint": [f"c{k}" for k in range(len(products))],
            "layer": list(LAYERS),
            "eval_task": tasks,
            "other_task": tasks,
        },
    )


@pytest.fixture
def drawn():
    rng = np.random.default_rng(1)
    return [[rng.normal(size=(3, 4)), rng.normal(size=(3, 2))] for _ in range(2)]


def test_gradient_measures_against_the_gradients_themselves(drawn):
    facts = gradients(drawn)
    dot, cosine = gradient_dot(facts), gradient_cosine(facts)
    assert dot.dims == cosine.dims == ("checkpoint", "eval_task", "other_task")
    for k in range(2):
        whole = np.concatenate(drawn[k], axis=1)
        for s in range(3):
            for t in range(3):
                product = math.fsum(whole[s] * whole[t])
                assert dot.values[k, s, t] == pytest.approx(product, rel=1e-12)
                norms = math.hypot(*whole[s]) * math.hypot(*whole[t])
                assert cosine.values[k, s, t] == pytest.approx(product / norms, rel=1e-12)
    np.testing.assert_array_equal(np.diagonal(cosine, axis1=1, axis2=2), 1.0)


def test_gradient_measures_by_layer(drawn):
    facts = gradients(drawn)
    dot, cosine = (m(facts, per_layer=True) for m in (gradient_dot, gradient_cosine))
    assert dot.dims == cosine.dims == ("checkpoint", "layer", "eval_task", "other_task")
    xr.testing.assert_allclose(dot.sum("layer"), gradient_dot(facts))
    for i, label in enumerate(LAYERS):
        g = drawn[1][i]
        expected = g @ g.T / np.outer(*[np.linalg.norm(g, axis=1)] * 2)
        np.testing.assert_allclose(cosine.sel(layer=label)[1], expected, rtol=1e-12)


def test_same_opposite_and_separate_gradients():
    facts = gradients([[[[1.0, 0], [2, 0], [-3, 0], [0, 4], [0, 0]], np.zeros((5, 1))]])
    expected = [[1, 1, -1, 0], [1, 1, -1, 0], [-1, -1, 1, 0], [0, 0, 0, 1]]
    result = gradient_cosine(facts)[0]
    np.testing.assert_array_equal(result[:4, :4], expected)
    assert result[4].isnull().all()
    assert result[:, 4].isnull().all()
    assert gradient_cosine(facts, per_layer=True).sel(layer="second").isnull().all()


@pytest.mark.parametrize("measure", [gradient_dot, gradient_cosine], ids=lambda m: m.__name__)
def test_gradients_are_paired_by_label_and_counted_between_tasks(measure, drawn):
    facts = gradients(drawn)
    result = measure(facts)
    xr.testing.assert_allclose(measure(facts.isel(other_task=[2, 0, 1])), result)
    entry = registry.get("measure", measure.__name__)
    pairs = [result.values[-1, s, t] for s in range(3) for t in range(3) if s != t]
    assert scalars("x", entry(facts), entry.traits["scalar"]) == {"x": pytest.approx(sum(pairs) / 6)}


# --- layers -----------------------------------------------------------------------------------------------


def layer_kernels(features):
    """From tangent features by layer, each (checkpoint, task, probe, weight)."""
    blocks = np.stack([np.einsum("ksnp,ktmp->kstnm", f, f) for f in features], axis=1)
    tasks = [f"task{t}" for t in range(blocks.shape[2])]
    coords = {"checkpoint": [f"c{k}" for k in range(len(blocks))], "layer": list(LAYERS)}
    coords |= {"eval_task": tasks, "other_task": tasks}
    found = {
        "norm": np.sqrt((blocks**2).sum((-2, -1))),
        "projection": (blocks * blocks.sum(1, keepdims=True)).sum((-2, -1)),
    }
    dims = ("checkpoint", "layer", "eval_task", "other_task")
    return {name: xr.DataArray(v, dims=dims, coords=coords) for name, v in found.items()}


def test_layers_share_out_the_kernel_between_tasks():
    rng = np.random.default_rng(2)
    features = [rng.normal(size=(2, 3, 4, p)) for p in (5, 7)]
    facts = layer_kernels(features)
    result = layer_interference(facts)
    np.testing.assert_allclose(result.share.sum("layer"), 1.0, rtol=1e-12)
    assert result.share.dims == result.overlap.dims == ("checkpoint", "layer", "eval_task", "other_task")
    for i, label in enumerate(LAYERS):
        xr.testing.assert_allclose(
            result.overlap.sel(layer=label, drop=True).drop_vars("checkpoint"),
            cross_task_overlap(kernels(features[i])).drop_vars("checkpoint"),
        )
    shuffled = {name: v.isel(other_task=[2, 0, 1]).transpose(..., "layer") for name, v in facts.items()}
    xr.testing.assert_allclose(layer_interference(shuffled), result)


def test_one_layer_carries_all_and_one_works_against():
    shared, apart = [[[[1.0, 0]], [[2.0, 0]]]], [[[[1.0, 0]], [[0, 3.0]]]]
    result = layer_interference(layer_kernels([np.asarray(shared), np.asarray(apart)]))
    np.testing.assert_allclose(result.share[0, :, 0, 1], [1, 0], atol=1e-15)
    np.testing.assert_allclose(result.overlap[0, :, 0, 1], [1, 0], atol=1e-15)
    against = [[[[1.0]], [[-1.0]]]]
    result = layer_interference(layer_kernels([np.asarray(shared), np.asarray(against)]))
    np.testing.assert_allclose(result.share[0, :, 0, 1], [2, -1], rtol=1e-12)  # 2 and −1 make 1


def test_tasks_that_share_nothing_have_no_shares():
    apart = np.asarray([[[[1.0, 0]], [[0, 1.0]]]])
    result = layer_interference(layer_kernels([apart, apart]))
    assert result.share[0, :, 0, 1].isnull().all()
    entry = registry.get("measure", "layer_interference")
    assert scalars("x", result, entry.traits["scalar"]) == {"x.overlap": 0.0}
