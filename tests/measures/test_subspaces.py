"""Task subspaces against scipy on scikit-learn's components, loops, and planes at known angles."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group
from sklearn.decomposition import PCA

from clntk import registry
from clntk.errors import DataError
from clntk.measures.subspaces import alignment_index, principal_angles, subspace, task_subspaces
from clntk.measures.summary import scalars

SQUARE = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # isotropic in the plane


def pair(seed, units=7):
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** -np.arange(units)
    return tuple(
        rng.normal(size=(n, units)) * sizes @ ortho_group.rvs(units, random_state=rng) for n in (12, 15)
    )


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
def test_subspaces_are_scikit_learns(variance):
    for code in pair(0):
        components = PCA(n_components=variance, svd_solver="full").fit(code).components_
        basis = subspace(code, variance=variance)
        assert basis.shape == components.T.shape
        np.testing.assert_allclose(basis @ basis.T, components.T @ components, atol=1e-10)


def test_all_the_variance_is_the_whole_subspace():
    flat = np.hstack([SQUARE, np.zeros((4, 3))]) @ ortho_group.rvs(5, random_state=0)
    assert subspace(flat, variance=1.0).shape == (5, 2)


def test_alignment_never_exceeds_one_by_rounding():
    assert max(alignment_index(code, code) for seed in range(40) for code in pair(seed)) <= 1


def test_a_share_that_is_reached_but_for_rounding_is_reached():
    for seed in range(20):
        code = SQUARE * [3, 1] @ ortho_group.rvs(5, random_state=seed)[:2]  # variances 9 and 1
        assert subspace(code, variance=0.9).shape == (5, 1)


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
def test_angles_and_alignment_against_scipy_and_loops(variance):
    a, b = pair(1)
    A, B = (PCA(n_components=variance, svd_solver="full").fit(code) for code in (a, b))
    expected = np.rad2deg(np.sort(subspace_angles(A.components_.T, B.components_.T)))
    np.testing.assert_allclose(principal_angles(a, b, variance=variance), expected, rtol=1e-6)
    moved = a - a.mean(axis=0)
    captured = math.fsum(
        sum(x * w for x, w in zip(row, component, strict=True)) ** 2
        for row in moved
        for component in B.components_
    )
    most = math.fsum(PCA().fit(a).explained_variance_[: B.n_components_]) * (len(a) - 1)
    assert alignment_index(a, b, variance=variance) == pytest.approx(captured / most, rel=1e-9)


def test_orthogonal_and_equal_subspaces():
    a, b = np.hstack([SQUARE, 0 * SQUARE]), np.hstack([0 * SQUARE, 3 * SQUARE])
    assert alignment_index(a, b) == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(principal_angles(a, b), [90, 90])
    assert alignment_index(a, 5 * a + 2) == pytest.approx(1)
    np.testing.assert_allclose(principal_angles(a, 5 * a + 2), [0, 0], atol=1e-5)


@pytest.mark.parametrize("angle", [0.001, 30.0, 60.0])
def test_a_plane_turned_by_an_angle(angle):
    """Both share one axis; the other turns by the angle and so keeps cos² of its variance."""
    turn = math.radians(angle)
    a = np.hstack([SQUARE, np.zeros((4, 1))])
    b = SQUARE @ np.array([[1, 0, 0], [0, math.cos(turn), math.sin(turn)]])
    np.testing.assert_allclose(principal_angles(a, b), [0, angle], atol=1e-6)
    assert alignment_index(a, b) == pytest.approx((1 + math.cos(turn) ** 2) / 2)


def test_alignment_counts_variance_and_so_is_not_symmetric():
    """a varies by 9 along x and 1 along y, b along x alone: b holds most of a, a holds all of b."""
    a, b = SQUARE * [3, 1], SQUARE * [1, 0]
    assert alignment_index(a, b, variance=1.0) == pytest.approx(1)  # the best that one dimension can
    assert alignment_index(a, SQUARE * [0, 1], variance=1.0) == pytest.approx(1 / 9)
    assert alignment_index(b, a, variance=1.0) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_they_are_blind_to_common_rotation_order_and_copies_and_to_any_scale_and_shift(seed, scale):
    rng = np.random.default_rng(seed)
    a, b = pair(seed)
    turn, order = ortho_group.rvs(7, random_state=rng), rng.permutation(7)
    changed = {
        "rotation": (a @ turn, b @ turn),
        "scale": (scale * a, b),
        "shift": (a, b + rng.normal(size=7)),
        "unit order": (a[:, order], b[:, order]),
        "example order": (a[rng.permutation(12)], b),
        "duplicate units": (np.hstack([a, a]), np.hstack([b, b])),
    }
    for name, (one, other) in changed.items():
        for f in (alignment_index, principal_angles):
            np.testing.assert_allclose(f(one, other), f(a, b), rtol=1e-5, atol=1e-5, err_msg=name)
    assert 0 <= alignment_index(a, b) <= 1
    np.testing.assert_allclose(principal_angles(b, a), principal_angles(a, b), atol=1e-6)


@pytest.mark.parametrize("still", [np.full((3, 7), 0.1), np.ones((1, 7))])
def test_what_does_not_vary_has_no_subspace(still):
    a, _ = pair(2)
    assert subspace(still).shape == (7, 0)
    assert principal_angles(a, still).size == principal_angles(still, a).size == 0
    assert math.isnan(alignment_index(a, still))
    assert math.isnan(alignment_index(still, a))


def test_errors_name_the_place_and_the_finding():
    a, b = pair(3)
    with pytest.raises(
        DataError, match=r"principal_angles: expected the same units in both, found 7 and 6.*transposed"
    ):
        principal_angles(a, b[:, :6])
    for variance in (0.0, 1.5, float("nan")):
        with pytest.raises(
            DataError, match=rf"subspace, variance: expected a share in \(0, 1\], found {variance}"
        ):
            subspace(a, variance=variance)
    with pytest.raises(DataError, match=r"alignment_index, activations: .* found 1 NaN"):
        alignment_index(a, np.where(b == b.max(), np.nan, b))


def test_chance_is_the_mean_over_random_subspaces():
    rng = np.random.default_rng(0)
    code = rng.normal(size=(2, 1, 30, 6)) * 2.0 ** -np.arange(6)
    facts = {"hidden": xr.DataArray(
        code.swapaxes(0, 1), dims=("checkpoint", "eval_task", "probe", "unit"),
        coords={"checkpoint": ["end"], "eval_task": ["a", "b"]},
    )}  # fmt: skip
    result = task_subspaces(facts, variance=0.8).isel(checkpoint=0, layer=0)
    k = int(result.dimension[1])
    moved = code[0, 0] - code[0, 0].mean(axis=0)
    held = np.linalg.svd(moved, compute_uv=False)[:k] ** 2
    turned = moved @ ortho_group.rvs(6, size=4000, random_state=rng)[:, :, :k]
    drawn = (turned**2).sum(axis=(1, 2)) / held.sum()
    assert abs(drawn.mean() - result.alignment_chance[0, 1]) < 4 * drawn.std() / 4000**0.5
    assert 1 < k < 6


def test_the_measure_is_the_functions_for_every_pair(make_activations):
    facts = make_activations({"hidden1": 5, "hidden2": 8}, n=7)
    result = task_subspaces(facts, variance=0.8)
    assert result.alignment.dims == ("checkpoint", "layer", "eval_task", "other_task")
    assert list(result.other_task.values) == list(result.eval_task.values)
    for (layer, code), k in ((item, k) for item in facts.items() for k in range(3)):
        at = result.isel(checkpoint=k).sel(layer=layer)
        for s in range(4):
            assert at.dimension[s] == subspace(code.values[k, s], variance=0.8).shape[1]
            for t in range(4):
                a, b = code.values[k, s], code.values[k, t]
                angles = principal_angles(a, b, variance=0.8)
                assert at.alignment[s, t] == pytest.approx(alignment_index(a, b, variance=0.8))
                assert at.smallest_angle[s, t] == pytest.approx(angles[0], abs=1e-5)
                assert at.largest_angle[s, t] == pytest.approx(angles[-1], abs=1e-5)
                assert at.overlap[s, t] == pytest.approx((np.cos(np.deg2rad(angles)) ** 2).mean())


def test_its_numbers_are_of_different_tasks(make_activations):
    facts = make_activations({"hidden": 40}, n_tasks=3)
    result = task_subspaces(facts)
    found = scalars("s", result, registry.get("measure", "task_subspaces").traits["scalar"])
    assert list(found) == ["s.alignment", "s.alignment_chance", "s.overlap", "s.dimension"]
    at = result.alignment.values[-1, 0]
    assert found["s.alignment"] == pytest.approx((at.sum() - np.trace(at)) / 6)
    assert found["s.dimension"] == pytest.approx(result.dimension.values[-1].mean())


def test_a_still_task_is_nan_in_its_pairs_alone(make_activations):
    facts = make_activations({"hidden": 5})
    facts["hidden"][0, 1] = 2.0
    result = task_subspaces(facts).isel(checkpoint=0, layer=0)
    missing = result.alignment.isnull().values
    assert missing[1].all()
    assert missing[:, 1].all()
    assert missing.sum() == 7
    assert result.dimension[1] == 0
    with pytest.raises(DataError, match="at least one layer, found none"):
        task_subspaces({})
