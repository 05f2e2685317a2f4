"""Dimension against scikit-learn, loops and codes whose eigenvalues are known."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.decomposition import PCA

from clntk import registry
from clntk.errors import DataError
from clntk.measures.geometry import (
    cumulative_variance,
    dimensionality,
    effective_rank,
    explained_variance,
    participation_ratio,
    spectrum,
)
from clntk.measures.summary import scalars

fast = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
shapes = pytest.mark.parametrize(("n", "units"), [(40, 6), (5, 12), (2, 3), (7, 1)])


def drawn(seed, n=9, units=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, units)) * rng.lognormal(size=units) + 3 * rng.normal(size=units)


@shapes
def test_the_spectrum_is_that_of_scikit_learn(n, units):
    code = drawn(0, n, units)
    pca = PCA().fit(code)
    eigenvalues = spectrum(code)
    assert eigenvalues.shape == (min(n, units),)
    np.testing.assert_allclose(eigenvalues, pca.explained_variance_, rtol=1e-9, atol=1e-12)
    shares = np.cumsum(pca.explained_variance_ratio_)
    np.testing.assert_allclose(cumulative_variance(eigenvalues), shares, rtol=1e-9)


@shapes
@pytest.mark.parametrize("centred", [True, False])
def test_the_spectrum_against_a_covariance_by_loops(n, units, centred):
    code = drawn(1, n, units)
    mean = code.mean(axis=0) if centred else np.zeros(units)
    covariance = [
        [math.fsum((x[i] - mean[i]) * (x[j] - mean[j]) for x in code) / (n - centred) for j in range(units)]
        for i in range(units)
    ]
    expected = np.linalg.eigvalsh(covariance)[::-1][: min(n, units)]
    np.testing.assert_allclose(spectrum(code, centred=centred), expected, rtol=1e-8, atol=1e-10)


def test_dimensions_against_loops():
    eigenvalues = spectrum(drawn(2))
    total = math.fsum(eigenvalues)
    assert participation_ratio(eigenvalues) == pytest.approx(total**2 / math.fsum(v**2 for v in eigenvalues))
    entropy = -math.fsum(v / total * math.log(v / total) for v in eigenvalues)
    assert effective_rank(eigenvalues) == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize(
    ("eigenvalues", "ratio", "rank"),
    [
        ([2.0, 2, 2, 2], 4, 4),
        ([5.0, 0, 0], 1, 1),
        ([3.0, 1], 16 / 10, 4 / 3**0.75),
        ([3.0, 1, -1e-16], 16 / 10, 4 / 3**0.75),  # as eigvalsh returns zeros
        ([1e-200, 1e-200], 2, 2),
    ],
)
def test_known_spectra(eigenvalues, ratio, rank):
    assert participation_ratio(eigenvalues) == pytest.approx(ratio)
    assert effective_rank(eigenvalues) == pytest.approx(rank)


def test_known_codes():
    corners = np.concatenate([np.eye(4), -np.eye(4)])
    assert participation_ratio(spectrum(corners + 7)) == pytest.approx(4)
    line = np.outer(np.arange(6.0), [1, -2, 3])
    assert min(spectrum(line @ ortho_group.rvs(3, random_state=seed)).min() for seed in range(20)) >= 0
    assert participation_ratio(spectrum(line)) == pytest.approx(1)
    assert effective_rank(spectrum(line)) == pytest.approx(1)
    np.testing.assert_allclose(cumulative_variance([3.0, 1.0, 0.0]), [0.75, 1, 1])
    np.testing.assert_allclose(cumulative_variance([[3.0, 1.0], [0.0, 0.0]]), [[0.75, 1], [np.nan] * 2])


def test_uncentred_variance_counts_the_mean():
    code = np.array([[3.0, 1.0], [3.0, -1.0]])
    np.testing.assert_allclose(spectrum(code), [2.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(spectrum(code, centred=False), [9.0, 1.0])


@fast
@given(seeds, st.floats(1e-3, 1e3))
def test_dimensions_are_blind_to_rotation_scale_order_and_copies(seed, scale):
    rng = np.random.default_rng(seed)
    code = drawn(seed)
    changed = {
        "rotation": code @ ortho_group.rvs(5, random_state=rng),
        "scale": scale * code,
        "unit order": code[:, rng.permutation(5)],
        "example order": code[rng.permutation(9)],
        "shift": code + rng.normal(size=5),
        "duplicate units": np.hstack([code, code]),
        "duplicate examples": np.vstack([code, code]),
    }
    for name, other in changed.items():
        for dimension in (participation_ratio, effective_rank):
            value = dimension(spectrum(code))
            np.testing.assert_allclose(dimension(spectrum(other)), value, rtol=1e-7, err_msg=name)
            assert 1 - 1e-9 <= value <= 5 + 1e-9
        longer = cumulative_variance(spectrum(other))[:5]
        np.testing.assert_allclose(longer, cumulative_variance(spectrum(code)), rtol=1e-7, err_msg=name)
    assert effective_rank(spectrum(code)) >= participation_ratio(spectrum(code)) - 1e-9


def test_few_examples_bound_the_dimension():
    code = np.random.default_rng(0).normal(size=(4, 1000))
    assert 2.5 < participation_ratio(spectrum(code)) <= effective_rank(spectrum(code)) <= 3 + 1e-9


@pytest.mark.parametrize("code", [np.full((6, 3), 0.1), np.zeros((4, 2)), [[1.0, 2.0, 3.0]]])
def test_activity_that_does_not_vary_has_no_dimension(code):
    eigenvalues = spectrum(code)
    np.testing.assert_array_equal(eigenvalues, 0.0)
    assert np.isnan([participation_ratio(eigenvalues), effective_rank(eigenvalues)]).all()
    assert np.isnan(cumulative_variance(eigenvalues)).all()


def test_arrays_tensors_and_xarray_agree():
    code = drawn(3).astype(np.float32)
    expected = spectrum(code)
    np.testing.assert_array_equal(spectrum(torch.tensor(code, requires_grad=True)), expected)
    np.testing.assert_array_equal(spectrum(xr.DataArray(code)), expected)
    np.testing.assert_array_equal(spectrum(code.tolist()), expected)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (np.zeros(3), r"expected shape \(examples, units\), found \(3,\)"),
        (np.zeros((0, 3)), "expected at least one example and one unit, found 0 and 3"),
        (np.zeros((3, 0)), "expected at least one example and one unit, found 3 and 0"),
        ([[1.0, np.nan], [2.0, 1.0]], "found 1 NaN or infinite, the first of them in unit 1"),
        ([[1.0, -np.inf], [2.0, 1.0]], "found 1 NaN or infinite, the first of them in unit 1"),
    ],
)
def test_errors_name_the_place_and_the_finding(code, message):
    with pytest.raises(DataError, match=f"spectrum, activations: .*{message}"):
        spectrum(code)


@pytest.mark.parametrize("eigenvalues", [[1.0, -0.5], [1.0, np.nan]])
@pytest.mark.parametrize("function", [participation_ratio, effective_rank, cumulative_variance])
def test_eigenvalues_are_finite_and_not_negative(function, eigenvalues):
    with pytest.raises(DataError, match="expected finite numbers that are not negative, found a lowest one"):
        function(eigenvalues)


def test_the_measures_are_the_functions_at_every_layer_and_checkpoint(make_activations):
    facts = make_activations({"hidden1": 5, "hidden2": 8})
    original = dict(facts)
    facts["hidden2"] = facts["hidden2"].transpose("unit", ...)
    sizes, curves = dimensionality(facts), explained_variance(facts, components=7, centred=False)
    assert sizes.participation_ratio.dims == ("checkpoint", "layer", "eval_task")
    assert sizes.joint_effective_rank.dims == ("checkpoint", "layer")
    assert list(sizes.layer.values) == ["hidden1", "hidden2"]
    assert list(sizes.step.values) == [0, 3, 6]
    assert list(sizes.eval_task.values) == ["task0", "task1", "task2", "task3"]
    assert list(curves.component.values) == [1, 2, 3, 4, 5, 6, 7]
    for name, layer in original.items():
        for k in range(3):
            at = {"checkpoint": k, "layer": ["hidden1", "hidden2"].index(name)}
            flat = layer.values[k].reshape(24, -1)
            assert sizes.joint_participation_ratio[at] == pytest.approx(participation_ratio(spectrum(flat)))
            assert sizes.joint_effective_rank[at] == pytest.approx(effective_rank(spectrum(flat)))
            held = cumulative_variance(spectrum(flat, centred=False))[:7]
            np.testing.assert_allclose(curves.joint[at][: len(held)], held)
            for t, own in enumerate(layer.values[k]):
                assert sizes.participation_ratio[at][t] == pytest.approx(participation_ratio(spectrum(own)))
                assert sizes.effective_rank[at][t] == pytest.approx(effective_rank(spectrum(own)))
                held = cumulative_variance(spectrum(own, centred=False))[:7]
                np.testing.assert_allclose(curves.own[at][t][: len(held)], held)
                np.testing.assert_array_equal(curves.own[at][t][len(held) :], held[-1])


def test_explained_variance_is_about_the_mean_by_default(make_activations):
    facts = make_activations({"hidden": 5})
    held = cumulative_variance(spectrum(facts["hidden"].values[1, 2]))
    np.testing.assert_allclose(explained_variance(facts, components=5).own[1, 0, 2], held)


def test_their_numbers_are_those_of_the_last_checkpoint(make_activations):
    facts = make_activations({"hidden1": 5, "hidden2": 8})
    sizes, curves = dimensionality(facts), explained_variance(facts)
    assert scalars("d", sizes)["d.participation_ratio"] == pytest.approx(
        sizes.participation_ratio[-1].mean().item()
    )
    trait = registry.get("measure", "explained_variance").traits["scalar"]
    found = scalars("e", curves, trait)
    assert list(found) == ["e.own", "e.joint"]
    assert found["e.joint"] == pytest.approx(curves.joint.sel(component=3)[-1].mean().item())
    two = scalars("e", explained_variance(facts, components=2), trait)
    assert two["e.joint"] == pytest.approx(curves.joint.sel(component=2)[-1].mean().item())


def test_a_dead_layer_and_a_single_probe_are_nan_beside_others(make_activations):
    facts = make_activations({"hidden": 5})
    facts["hidden"][1] = 0.0
    sizes = dimensionality(facts)
    assert np.isnan(sizes.isel(checkpoint=1).to_array()).all()
    assert sizes.isel(checkpoint=[0, 2]).to_array().notnull().all()
    single = dimensionality(make_activations({"hidden": 5}, n=1))
    assert single.participation_ratio.isnull().all()
    assert single.joint_participation_ratio.notnull().all()


def test_the_measures_refuse_what_they_cannot_use(make_activations):
    with pytest.raises(DataError, match="at least one layer, found none"):
        dimensionality({})
    facts = make_activations({"first": 3, "second": 3})
    facts["second"][1, 2, 3, 1] = np.nan
    with pytest.raises(DataError, match=r"activations of layer 'second': .* found 1 NaN .* unit 1"):
        dimensionality(facts)
    empty = {"hidden": make_activations({"hidden": 3})["hidden"].isel(probe=slice(0))}
    with pytest.raises(DataError, match=r"layer 'hidden': expected .* probes .*'probe': 0"):
        dimensionality(empty)
