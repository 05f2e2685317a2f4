"""Alignment of kernels with targets against loops over pairs, and cases that are known."""

import math

import numpy as np
import pytest
import xarray as xr
from sklearn.preprocessing import KernelCenterer, OneHotEncoder

from clntk.measures.target_alignment import target_alignment, target_kernel


def kernels(blocks):
    blocks = np.asarray(blocks, float)
    t = len(blocks)
    every = np.full((1, t, t, *blocks.shape[1:]), 7.0)
    every[0, np.arange(t), np.arange(t)] = blocks
    labels = [f"task{i}" for i in range(t)]
    return xr.DataArray(
        every,
        dims=("checkpoint", "eval_task", "other_task", "probe", "other_probe"),
        coords={"checkpoint": ["init"], "eval_task": labels, "other_task": labels},
    )


def psd(seed, n=6):
    features = np.random.default_rng(seed).normal(size=(n, 4))
    return features @ features.T


def loop_alignment(K, K2):
    n = range(len(K))
    inner = [math.fsum(A[i, j] * B[i, j] for i in n for j in n) for A, B in ((K, K2), (K, K), (K2, K2))]
    return inner[0] / math.sqrt(inner[1] * inner[2])


@pytest.mark.parametrize("kind", ["labels", "values", "one column"])
def test_against_a_loop_over_pairs(make_probes, kind):
    rng = np.random.default_rng(0)
    y = {
        "labels": np.array([[0, 1, 2, 0, 1, 2], [3, 3, 3, 5, 5, 4]]),
        "values": rng.normal(size=(2, 6, 3)).astype(np.float32),
        "one column": rng.normal(size=(2, 6)).astype(np.float32),
    }[kind]
    K = [psd(1), psd(2)]
    result = target_alignment(kernels(K), make_probes(np.zeros((2, 6, 1)), y))
    for t in range(2):
        column = y[t].reshape(6, -1).astype(float)
        Y = OneHotEncoder(sparse_output=False).fit_transform(column) if kind == "labels" else column
        wanted = Y @ Y.T
        centred = [KernelCenterer().fit_transform(block.copy()) for block in (K[t], wanted)]
        assert result.uncentred.values[0, t] == pytest.approx(loop_alignment(K[t], wanted), rel=1e-9)
        assert result.centred.values[0, t] == pytest.approx(loop_alignment(*centred), rel=1e-9)


def test_the_targets_own_kernel_and_one_that_knows_nothing_of_them(make_probes):
    probes = make_probes(np.zeros((2, 4, 1)), [[0, 0, 1, 1], [0, 1, 0, 1]])
    own = target_kernel(probes.targets).values
    result = target_alignment(kernels([3 * own[0] + 2, own[0]]), probes).isel(checkpoint=0)
    np.testing.assert_allclose(result.centred, [1, 0], atol=1e-12)
    np.testing.assert_allclose(
        result.uncentred[1], 0.5, rtol=1e-12
    )  # half of the pairs alike in one are in both


def test_a_constant_kernel_is_aligned_as_far_as_classes_are_unequal(make_probes):
    probes = make_probes(np.zeros((1, 8, 1)), [[0, 0, 0, 0, 0, 0, 1, 1]])
    result = target_alignment(kernels([np.ones((8, 8))]), probes)
    np.testing.assert_allclose(result.uncentred, math.sqrt(0.75**2 + 0.25**2), rtol=1e-12)
    assert result.centred.isnull().all()


def test_targets_that_are_all_alike_leave_nothing_to_align_with(make_probes):
    result = target_alignment(kernels([psd(3, 3)]), make_probes(np.zeros((1, 3, 1)), [[2, 2, 2]]))
    assert result.centred.isnull().all()
    assert result.uncentred.notnull().all()


def test_tasks_are_paired_by_label(make_probes):
    probes = make_probes(np.zeros((2, 6, 1)), [[0, 1, 2, 0, 1, 2], [3, 3, 3, 5, 5, 4]])
    facts = kernels([psd(1), psd(2)])
    swapped = target_alignment(facts, probes.isel(eval_task=[1, 0]))
    xr.testing.assert_identical(swapped, target_alignment(facts, probes))
