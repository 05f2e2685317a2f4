"""Feature movement against linear CKA as its paper writes it, and gates counted one by one."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from clntk.errors import DataError
from clntk.measures.features import feature_movement, gate_flips


def linear_cka(X, Y):
    """By the cross-covariance of the units, eq. (4) of Kornblith et al. 2019: no Gram matrix."""
    X, Y = X - X.mean(0), Y - Y.mean(0)

    def squared(A, B):
        return np.sum((A.T @ B) ** 2)

    return squared(X, Y) / np.sqrt(squared(X, X) * squared(Y, Y))


def single(layers):
    """One task, one layer, of patterns by checkpoint."""
    values = np.asarray(layers, float)[:, None]
    coords = {"checkpoint": ["init", *(f"p{k}" for k in range(1, len(values)))], "eval_task": ["a"]}
    return {"h": xr.DataArray(values, dims=("checkpoint", "eval_task", "probe", "unit"), coords=coords)}


@pytest.mark.parametrize("reference", ["init", "previous"])
def test_against_the_cross_covariance_of_units(make_activations, reference):
    facts = make_activations({"one": 5, "two": 8})
    result = feature_movement(facts, reference=reference)
    assert result.own.dims == ("checkpoint", "layer", "eval_task")
    assert result.joint.dims == ("checkpoint", "layer")
    assert result.layer.values.tolist() == ["one", "two"]
    assert result.step.values.tolist() == [0, 3, 6]
    for label, layer in facts.items():
        X = layer.values.astype(float)
        for k in (1, 2):
            then = 0 if reference == "init" else k - 1
            row = result.sel(layer=label).isel(checkpoint=k)
            for t in range(4):
                assert row.own.values[t] == pytest.approx(1 - linear_cka(X[k, t], X[then, t]), rel=1e-9)
            together = [X[c].reshape(-1, X.shape[-1]) for c in (k, then)]
            assert float(row.joint) == pytest.approx(1 - linear_cka(*together), rel=1e-9)
    first = result.isel(checkpoint=0).to_array()
    assert (first == 0).all() if reference == "init" else first.isnull().all()


def test_every_reference_is_a_last_dimension(make_activations):
    result = feature_movement(make_activations({"one": 5}), reference="every")
    assert result.own.dims == ("checkpoint", "layer", "eval_task", "reference")
    assert result.joint.dims == ("checkpoint", "layer", "reference")
    np.testing.assert_allclose(result.joint.values[1, 0, 2], result.joint.values[2, 0, 1], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(1e-2, 1e2))
def test_blind_to_rotation_scale_and_shift_of_the_units(seed, scale):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(2, 6, 4))
    turned = scale * Y @ ortho_group.rvs(4, random_state=seed) + rng.normal(size=4)
    plain, moved = (feature_movement(single([X, now])) for now in (Y, turned))
    np.testing.assert_allclose(moved.own, plain.own, atol=1e-9)
    assert float(feature_movement(single([Y, turned])).own[1, 0, 0]) < 1e-12


def test_the_smallest_movements_are_not_rounded_away():
    X, E = np.random.default_rng(0).normal(size=(2, 8, 5))
    small, smaller = (float(feature_movement(single([X, X + e * E])).own[1, 0, 0]) for e in (1e-4, 1e-9))
    assert smaller == pytest.approx(small * 1e-10, rel=1e-3)


def test_features_at_right_angles_have_moved_all_the_way():
    X, Y = np.array([[1.0], [1], [-1], [-1]]), np.array([[1.0], [-1], [1], [-1]])
    assert float(feature_movement(single([X, Y])).own[1, 0, 0]) == pytest.approx(1.0)


def test_a_dead_layer_and_a_single_probe_have_no_movement():
    dead = single(np.stack([np.zeros((4, 3)), np.ones((4, 3))]))
    assert feature_movement(dead).own.isnull().all()
    assert feature_movement(single(np.arange(6.0).reshape(2, 1, 3))).own.isnull().all()


def test_gates_are_counted_one_by_one(make_activations):
    facts = make_activations({"one": 5, "two": 8})
    result = gate_flips(facts)
    assert result.dims == ("checkpoint", "layer", "eval_task")
    for label, layer in facts.items():
        for k in range(3):
            for t in range(4):
                pairs = zip(layer.values[k, t].ravel(), layer.values[0, t].ravel(), strict=True)
                flipped = [(now > 0) != (then > 0) for now, then in pairs]
                assert result.sel(layer=label).values[k, t] == sum(flipped) / len(flipped)
    assert (result[0] == 0).all()
    assert (result[1:] > 0.2).all()


def test_gates_that_open_and_shut_both_flip_and_size_does_not_count():
    # from open, open, shut, shut to shut, open, open, shut
    result = gate_flips(single([[[1.0, 2.0, 0.0, -1.0]], [[0.0, 9.0, 1e-30, 0.0]]]))
    assert result.values.ravel().tolist() == [0.0, 0.5]


@pytest.mark.parametrize("measure", [feature_movement, gate_flips])
def test_what_cannot_be_compared_is_refused(make_activations, measure):
    name = measure.__name__
    facts = make_activations({"one": 5})
    with pytest.raises(DataError, match=f"{name}.*first checkpoint to be 'init'"):
        measure({"one": facts["one"].isel(checkpoint=[1, 2])})
    with pytest.raises(DataError, match=f"{name}, activations: expected at least one layer"):
        measure({})
    facts["one"][1, 0, 0, 3] = np.nan
    with pytest.raises(DataError, match=f"{name}, activations of layer 'one': .*unit 3"):
        measure(facts)


def test_a_reference_that_is_none_is_refused(make_activations):
    with pytest.raises(DataError, match=r"feature_movement, reference: expected .* found 'last'"):
        feature_movement(make_activations({"one": 5}), reference="last")
