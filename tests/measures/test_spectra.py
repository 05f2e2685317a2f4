"""The spectrum of kernels against its definitions on explicit eigenvalues."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, ortho_group

from clntk.errors import DataError
from clntk.measures.spectra import kernel_spectrum


def kernels(blocks):
    """Within-task blocks of shape (checkpoint, task, n, n), with other blocks that must not matter."""
    blocks = np.asarray(blocks, float)
    k, t, n, _ = blocks.shape
    every = np.full((k, t, t, n, n), 7.0)
    every[:, np.arange(t), np.arange(t)] = blocks
    labels = [f"task{i}" for i in range(t)]
    return xr.DataArray(
        every,
        dims=("checkpoint", "eval_task", "other_task", "probe", "other_probe"),
        coords={
            "checkpoint": ["init", *(f"phase{i}" for i in range(1, k))],
            "eval_task": labels,
            "other_task": labels,
        },
    )


def turned(eigenvalues, seed=0):
    rotation = ortho_group.rvs(len(eigenvalues), random_state=seed)
    return rotation * eigenvalues @ rotation.T


def test_against_eigenvalues_that_are_known():
    spectra = np.array([[[4.0, 3.0, 2.0, 1.0], [5.0, 0.0, 0.0, 0.0]], [[2.0] * 4, [9.0, 9.0, 0.0, 0.0]]])
    result = kernel_spectrum(kernels([[turned(e, 3) for e in row] for row in spectra]))
    for k in range(2):
        for t in range(2):
            e = spectra[k, t]
            row = result.isel(checkpoint=k, eval_task=t)
            assert float(row.norm) == pytest.approx(math.sqrt((e**2).sum()), rel=1e-12)
            assert float(row.trace) == pytest.approx(e.sum(), rel=1e-12)
            assert float(row.top_eigenvalue) == pytest.approx(e.max(), rel=1e-12)
            assert float(row.effective_rank) == pytest.approx(math.exp(entropy(e)), rel=1e-9)
            assert float(row.participation_ratio) == pytest.approx(e.sum() ** 2 / (e**2).sum(), rel=1e-12)
    assert {v.dims for v in result.data_vars.values()} == {("checkpoint", "eval_task")}


def test_one_direction_and_all_alike():
    result = kernel_spectrum(kernels([[np.ones((5, 5)), 3 * np.eye(5)]]))
    np.testing.assert_allclose(result.effective_rank, [[1, 5]], rtol=1e-9)
    np.testing.assert_allclose(result.participation_ratio, [[1, 5]], rtol=1e-12)
    np.testing.assert_allclose(result.top_eigenvalue, [[5, 3]], rtol=1e-12)


def test_a_kernel_of_zeros_has_no_dimension():
    result = kernel_spectrum(kernels([[np.zeros((3, 3)), np.eye(3)]])).isel(checkpoint=0)
    assert result.norm.values.tolist() == pytest.approx([0, math.sqrt(3)])
    assert np.isnan(result.effective_rank[0])
    assert np.isnan(result.participation_ratio[0])
    assert result.isel(eval_task=1).to_array().notnull().all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(1e-3, 1e3))
def test_turning_the_examples_changes_nothing_and_scale_no_dimension(seed, n, scale):
    features = np.random.default_rng(seed).normal(size=(n, 4))
    K = features @ features.T
    turn = ortho_group.rvs(n, random_state=seed % 2**31)
    before, after = (kernel_spectrum(kernels([[block]])) for block in (K, scale * turn @ K @ turn.T))
    for name in ("effective_rank", "participation_ratio"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
    for name in ("norm", "trace", "top_eigenvalue"):
        np.testing.assert_allclose(after[name], scale * before[name], rtol=1e-9)


def test_what_is_no_kernel_is_refused():
    with pytest.raises(DataError, match="kernel_spectrum, kernels: expected finite kernels"):
        kernel_spectrum(kernels([[np.full((2, 2), np.nan)]]))
    with pytest.raises(DataError, match="not negative"):
        kernel_spectrum(kernels([[np.diag([1.0, -1.0])]]))
