"""The distance of kernels from those of infinite width, block by block."""

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.measures.infinite_kernel_error import infinite_kernel_error
from clntk.measures.summary import scalars

BLOCK = ("eval_task", "other_task", "probe", "other_probe")


def facts(seed=0, tasks=("a", "b"), checkpoints=("init", "a", "b")):
    rng = np.random.default_rng(seed)
    names = {"eval_task": list(tasks), "other_task": list(tasks)}
    kernels = xr.DataArray(
        rng.standard_normal((len(checkpoints), 2, 2, 3, 3)),
        dims=("checkpoint", *BLOCK),
        coords={"checkpoint": list(checkpoints), **names},
    )
    limit = xr.DataArray(rng.standard_normal((2, 2, 3, 3)), dims=BLOCK, coords=names)
    return kernels, xr.Dataset({"ntk": limit, "nngp": limit * np.nan})


def test_by_a_loop_over_blocks():
    kernels, infinite = facts()
    found = infinite_kernel_error(kernels, infinite)
    assert found.dims == ("checkpoint", "eval_task", "other_task")
    for where in np.ndindex(3, 2, 2):
        K, limit = kernels.values[where], infinite.ntk.values[where[1:]]
        expected = np.sqrt(((K - limit) ** 2).sum()) / np.sqrt((limit**2).sum())
        assert found.values[where] == pytest.approx(expected)


def test_the_same_kernel_has_no_error_and_twice_the_kernel_one():
    kernels, infinite = facts()
    same = xr.concat([infinite.ntk, 2 * infinite.ntk], dim=kernels.checkpoint[:2])
    found = infinite_kernel_error(same, infinite)
    np.testing.assert_allclose(found, [np.zeros((2, 2)), np.ones((2, 2))])


def test_tasks_are_matched_by_name_whatever_their_order():
    kernels, infinite = facts()
    turned = infinite.isel(eval_task=[1, 0]).transpose("probe", ...)
    found = infinite_kernel_error(kernels, turned)
    xr.testing.assert_allclose(found, infinite_kernel_error(kernels, infinite))


def test_its_number_is_the_mean_over_blocks_at_initialisation():
    kernels, infinite = facts()
    found = infinite_kernel_error(kernels, infinite)
    scalar = registry.get("measure", "infinite_kernel_error").traits["scalar"]
    assert scalars("it", found, scalar) == {"it": pytest.approx(float(found[0].mean()))}


def test_a_block_of_zeros_has_no_error():
    kernels, infinite = facts()
    infinite["ntk"][0, 1] = 0.0
    found = infinite_kernel_error(kernels, infinite)
    assert found.isnull().sum() == 3
    assert found[:, 0, 1].isnull().all()
