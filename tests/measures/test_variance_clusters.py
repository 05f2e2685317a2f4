"""Clusters by fractional task variance, on activity that is known."""

import numpy as np
import pytest
import xarray as xr

from clntk.measures.variance_clusters import variance_clusters

DIMS = ["checkpoint", "eval_task", "probe", "unit"]


def activity(scales, *, seed=0):
    """Noise of given size in each of two tasks, one pair a unit; layers by name."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(1, 2, 200, len(scales)))
    values = noise * np.asarray(scales, float).T[None, :, None]
    return xr.DataArray(values, dims=DIMS, coords={"checkpoint": ["end"], "eval_task": ["A", "B"]})


def test_units_of_single_tasks_are_clusters_and_mixed_ones_are_none():
    mixed = np.random.default_rng(1).uniform(0.8, 1.2, size=(40, 2))
    found = variance_clusters({"one": activity([[1, 0]] * 20 + [[0, 1]] * 20), "both": activity(mixed)})
    ends, p = found["one_task"].sel(checkpoint="end"), found["dip_p"].sel(checkpoint="end")
    assert ends.values.tolist() == [1.0, 0.0]
    assert p[0] < 0.01
    assert p[1] > 0.1
    assert found["dip"].dims == ("checkpoint", "layer")


def test_dead_units_do_not_count():
    found = variance_clusters({"one": activity([[1, 0], [1, 1], [0, 0], [0, 0]])})
    assert found["one_task"].item() == pytest.approx(0.5)
