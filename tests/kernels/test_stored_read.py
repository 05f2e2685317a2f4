"""Kernels on disk are read lazily, and any selection is NumPy's."""

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_kernels import C, N, bytes_of, inputs, net
from test_rules import reference

import clntk


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Lazy kernels, and the same as arrays in memory."""
    folder = tmp_path_factory.mktemp("kernels")
    found = {}
    for name, x2, options, entries in (
        ("symmetric", None, {}, "ncmd->ncmd"),
        ("outputs first", None, {"layout": "cndm"}, "ncmd->cndm"),
        ("two sides", inputs(5, seed=2), {"layout": "cndm"}, "ncmd->cndm"),
        ("trace", None, {"mode": "trace"}, "ncmc->nm"),
    ):
        outputs = 1 if "mode" in options else C
        size = bytes_of(3, outputs=outputs)
        lazy = clntk.empirical_ntk(net(), inputs(), x2, out=folder / name, block_bytes=size, **options)
        full = reference(net(), inputs(), x2)
        dense = torch.einsum(entries, full)
        found[name] = lazy, xr.DataArray(dense.numpy(), dims=lazy.dims)
    return found


def assert_same(lazy, dense):
    assert lazy.dims == dense.dims
    assert lazy.shape == dense.shape
    np.testing.assert_allclose(lazy.values, dense.values, rtol=0, atol=1e-12)


NAMES = st.sampled_from(["symmetric", "outputs first", "two sides", "trace"])


def indexers(size):
    """An integer, a slice or some positions, empty or repeated, from either end."""
    one = st.integers(-size, size - 1)
    return st.one_of(one, st.slices(size), st.lists(one, max_size=6).map(lambda v: np.array(v, dtype=int)))


@settings(max_examples=120, deadline=None)
@given(NAMES, st.data())
def test_any_selection_is_numpys(kernels, name, data):
    lazy, dense = kernels[name]
    chosen = {dim: data.draw(st.none() | indexers(size), label=dim) for dim, size in dense.sizes.items()}
    chosen = {dim: index for dim, index in chosen.items() if index is not None}
    once, expected = lazy.isel(chosen), dense.isel(chosen)
    again = {
        dim: data.draw(indexers(size), label=f"then {dim}") for dim, size in expected.sizes.items() if size
    }
    assert_same(once.isel(again), expected.isel(again))  # before `once` is read: lazily composed
    assert_same(once, expected)
    order = data.draw(st.permutations(expected.dims))
    assert_same(lazy.isel(chosen).transpose(*order), expected.transpose(*order))


@settings(max_examples=40, deadline=None)
@given(NAMES, st.data())
def test_pointwise_selection_is_numpys(kernels, name, data):
    lazy, dense = kernels[name]
    n_points = data.draw(st.integers(0, 4))
    dims = data.draw(st.lists(st.sampled_from(dense.dims), min_size=1, unique=True))
    chosen = {}
    for dim in dims:
        size = dense.sizes[dim]
        one = st.integers(-size, size - 1)
        points = np.array(data.draw(st.lists(one, min_size=n_points, max_size=n_points)), dtype=int)
        chosen[dim] = xr.DataArray(points, dims="point")
    assert_same(lazy.isel(chosen), dense.isel(chosen))


def test_selections_as_one_writes_them(kernels):
    for name in ("symmetric", "outputs first", "two sides"):
        lazy, dense = kernels[name]
        array = dense.values
        np.testing.assert_allclose(lazy[0].values, array[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(lazy[-1, :, 2:5:2].values, array[-1, :, 2:5:2], rtol=0, atol=1e-12)
        np.testing.assert_allclose(lazy[..., ::-1].values, array[..., ::-1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(lazy[[2, 0, 0]].values, array[[2, 0, 0]], rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.asarray(lazy), array, rtol=0, atol=1e-12)
        assert float(lazy[1, 2, 0, 1]) == pytest.approx(array[1, 2, 0, 1], abs=1e-12)
        assert float(lazy.sum()) == pytest.approx(array.sum())
        with pytest.raises(IndexError):
            lazy[:, N].values  # noqa: B018


def test_only_what_is_looked_at_is_read(tmp_path, monkeypatch):
    clntk.empirical_ntk(net(), inputs(), out=tmp_path / "k", block_bytes=bytes_of(3))
    read = []
    original = zarr.Array.__getitem__

    def watched(array, key):
        read.append(key)
        return original(array, key)

    monkeypatch.setattr(zarr.Array, "__getitem__", watched)
    kernel = clntk.open_ntk(tmp_path / "k")
    part = kernel.isel(probe=slice(0, 3), other_probe=4)
    assert read == []
    assert part.values.shape == (3, C, C)
    assert len(read) == 1
