"""Principal angles from kernels against those from the tangent features themselves."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

from clntk import registry
from clntk.errors import DataError
from clntk.measures.summary import scalars
from clntk.measures.tangent_subspaces import overlap_matrix, tangent_subspaces


def kernels(features):
    """The kernels of tangent features, shape (checkpoint, task, probe, weight)."""
    features = np.asarray(features, float)
    k, t = features.shape[:2]
    return xr.DataArray(
        np.einsum("ksnp,ktmp->kstnm", features, features),
        dims=("checkpoint", "eval_task", "other_task", "probe", "other_probe"),
        coords={
            "checkpoint": ["init", *(f"phase{i}" for i in range(1, k))],
            "eval_task": [f"task{i}" for i in range(t)],
            "other_task": [f"task{i}" for i in range(t)],
        },
    )


def blocks(A, B):
    return A @ A.T, A @ B.T, B @ B.T


def singular(A, B, **options):
    return np.linalg.svd(overlap_matrix(*blocks(A, B), **options), compute_uv=False)


def test_singular_values_are_cosines_of_the_angles_between_features():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(3, 11)), rng.normal(size=(5, 11))
    angles = subspace_angles(A.T, B.T)[::-1]
    np.testing.assert_allclose(singular(A, B), np.cos(angles), rtol=1e-10)


def test_the_matrix_is_that_of_right_singular_vectors():
    rng = np.random.default_rng(1)
    A, B = rng.normal(size=(4, 9)), rng.normal(size=(4, 9))
    V = [np.linalg.svd(X, full_matrices=False)[2] for X in (A, B)]
    np.testing.assert_allclose(np.abs(overlap_matrix(*blocks(A, B))), np.abs(V[0] @ V[1].T), atol=1e-10)


def test_rank_that_is_only_rounding_is_no_direction():
    rng = np.random.default_rng(2)
    A, B = (rng.normal(size=(8, 3)) @ rng.normal(size=(3, 10)) for _ in range(2))
    assert overlap_matrix(*blocks(A, B)).shape == (3, 3)
    np.testing.assert_allclose(singular(A, B), np.cos(subspace_angles(A.T, B.T))[::-1], rtol=1e-7)


@pytest.mark.parametrize(("variance", "kept"), [(0.5, 1), (0.6, 1), (0.61, 2), (0.9, 2), (0.95, 3), (1.0, 3)])
def test_the_fewest_directions_that_hold_the_share(variance, kept):
    A = np.diag(np.sqrt([6.0, 3.0, 1.0]))
    assert overlap_matrix(*blocks(A, np.eye(3)), variance=variance).shape == (
        kept,
        3 if variance > 0.67 else 2,
    )


def test_separate_same_and_tilted_tasks():
    tilt = np.deg2rad(30)
    features = [
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]],
        [[5, 5, 0, 0, 0], [0, 2, 0, 0, 0]],
        [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]],
        [[np.cos(tilt), 0, 0, 0, np.sin(tilt)], [0, 0, 1, 0, 0]],
    ]
    result = tangent_subspaces(kernels([features]), variance=1.0).isel(checkpoint=0)
    first = result.isel(eval_task=0)
    np.testing.assert_allclose(first.overlap, [1, 1, 0, np.cos(tilt) ** 2 / 2], atol=1e-12)
    np.testing.assert_allclose(first.smallest_angle, [0, 0, 90, 30], atol=1e-5)
    np.testing.assert_allclose(first.largest_angle, [0, 0, 90, 90], atol=1e-5)
    assert result.dimension.values.tolist() == [2, 2, 2, 2]


def test_measure_against_features_by_pair_and_checkpoint():
    features = np.random.default_rng(3).normal(size=(2, 3, 4, 12))
    result = tangent_subspaces(kernels(features), variance=1.0)
    assert result.overlap.dims == ("checkpoint", "eval_task", "other_task")
    for k in range(2):
        for s in range(3):
            for t in range(3):
                if s == t:
                    continue
                angles = subspace_angles(features[k, s].T, features[k, t].T)
                pair = result.isel(checkpoint=k, eval_task=s, other_task=t)
                assert float(pair.overlap) == pytest.approx((np.cos(angles) ** 2).mean(), rel=1e-9)
                assert float(pair.smallest_angle) == pytest.approx(np.rad2deg(angles.min()), rel=1e-6)
                assert float(pair.largest_angle) == pytest.approx(np.rad2deg(angles.max()), rel=1e-6)
    shuffled = kernels(features).isel(other_task=[2, 0, 1])
    xr.testing.assert_allclose(tangent_subspaces(shuffled, variance=1.0), result)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_turning_the_examples_and_scaling_a_task_changes_no_angle(seed, one, other):
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(2, 4, 10))
    turned = [scale * ortho_group.rvs(4, random_state=seed) @ X for scale, X in ((one, A), (other, B))]
    np.testing.assert_allclose(singular(*turned), singular(A, B), atol=1e-8)


def test_a_task_that_learns_nothing_has_no_angles():
    features = np.random.default_rng(4).normal(size=(1, 2, 3, 6))
    features[0, 1] = 0
    result = tangent_subspaces(kernels(features)).isel(checkpoint=0)
    assert result.dimension.values.tolist() == [3, 0]
    assert np.isnan(result.overlap.values).tolist() == [[False, True], [True, True]]


def test_the_numbers_are_over_different_tasks():
    features = np.random.default_rng(5).normal(size=(2, 2, 3, 6))
    entry = registry.get("measure", "tangent_subspaces")
    result = entry(kernels(features), variance=1.0)
    numbers = scalars("x", result, entry.traits["scalar"])
    assert numbers["x.overlap"] == pytest.approx(float(result.overlap[-1, 0, 1]))
    assert numbers["x.dimension"] == 3


def test_what_is_no_pair_of_kernels_is_refused():
    K = np.eye(3)
    with pytest.raises(DataError, match=r"found \(3, 3\), \(3, 2\) and \(3, 3\)"):
        overlap_matrix(K, np.ones((3, 2)), K)
    with pytest.raises(DataError, match=r"share in \(0, 1\], found 0"):
        overlap_matrix(K, K, K, variance=0)
    with pytest.raises(DataError, match="overlap_matrix: expected finite kernels"):
        overlap_matrix(K, K * np.nan, K)
    with pytest.raises(DataError, match="not negative"):
        overlap_matrix(np.diag([1.0, 1.0, -1.0]), K, K)
