"""Kernels on disk: the same numbers, read lazily, resumed after any end, and refused before harm is done."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rules import reference
from torch import nn

import clntk
from clntk.errors import DataError
from clntk.kernels import request
from clntk.kernels.write import identity_of

N, C = 7, 3
LAYOUTS = ("ncmd", "cndm")


def net(*, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C)).to(dtype)


def inputs(n=N, *, seed=1):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bytes_of(side, *, outputs=C, item=8):
    """Of a tile of so many examples a side."""
    return (side * outputs) ** 2 * item


def tiles(folder):
    """The tiles on disk, as (probe, other_probe)."""
    files = [path.relative_to(folder / "c").parts for path in folder.glob("c/**/*") if path.is_file()]
    keep = (0, 1) if len(files[0]) == 2 else (0, 2)
    return sorted(tuple(int(parts[k]) for k in keep) for parts in files)


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture
def contractions(monkeypatch):
    """Counts the tiles that are computed; raises ``what`` in the place of number ``at``."""

    class Counter:
        count, at, what = 0, None, None

        def __call__(self, *args, **kwargs):
            self.count += 1
            if self.count == self.at:
                raise self.what
            return original(*args, **kwargs)

        def end(self, at, what):
            self.count, self.at, self.what = 0, at, what

        def begin(self):
            self.count, self.at = 0, None

    original = request.contracted
    counter = Counter()
    monkeypatch.setattr(request, "contracted", counter)
    return counter


# --- the same numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("m", [None, 5, 9])
@pytest.mark.parametrize("side", [1, 2, 3, 7, 50])
def test_a_full_kernel(tmp_path, layout, m, side):
    model, x1 = net(), inputs()
    x2 = None if m is None else inputs(m, seed=2)
    expected = reference(model, x1, x2)
    if layout == "cndm":
        expected = expected.permute(1, 0, 3, 2)
    kernel = clntk.empirical_ntk(model, x1, x2, out=tmp_path / "k", layout=layout, block_bytes=bytes_of(side))
    axes = {"n": "probe", "c": "output", "m": "other_probe", "d": "other_output"}
    assert kernel.dims == tuple(axes[letter] for letter in layout)
    assert kernel.dtype == np.float64
    n_tiles = -(-max(N, m or N) // side)
    assert kernel.attrs["tile"] == -(-max(N, m or N) // n_tiles) <= side
    np.testing.assert_allclose(kernel.values, expected, rtol=0, atol=1e-12)
    again = clntk.open_ntk(tmp_path / "k")
    assert again.identical(kernel)
    held = clntk.empirical_ntk(model, x1, x2, layout=layout)
    np.testing.assert_allclose(again.values, held, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["trace", "sum_logits"])
@pytest.mark.parametrize("m", [None, 5])
@pytest.mark.parametrize("side", [1, 3, 50])
def test_a_kernel_without_outputs(tmp_path, mode, m, side):
    model, x1 = net(), inputs()
    x2 = None if m is None else inputs(m, seed=2)
    full = reference(model, x1, x2)
    expected = torch.einsum("ncmc->nm", full) if mode == "trace" else full.sum((1, 3))
    block_bytes = bytes_of(side, outputs=1)
    kernel = clntk.empirical_ntk(model, x1, x2, mode=mode, out=tmp_path / "k", block_bytes=block_bytes)
    assert kernel.dims == ("probe", "other_probe")
    np.testing.assert_allclose(kernel.values, expected, rtol=0, atol=1e-12)


def test_single_precision_one_example_and_a_folder_by_name(tmp_path):
    x = inputs(1)
    kernel = clntk.empirical_ntk(net(dtype=torch.float32), x.float(), out=str(tmp_path / "a" / "b" / "k"))
    assert kernel.dtype == np.float32
    assert kernel.shape == (1, C, 1, C)
    np.testing.assert_allclose(kernel.values, reference(net(), x), rtol=1e-5, atol=1e-6)


def test_some_parameters_only(tmp_path):
    model, x = net(), inputs()
    kernel = clntk.empirical_ntk(model, x, params=["2.bias"], out=tmp_path / "k", block_bytes=bytes_of(2))
    ones = np.einsum("nm,cd->ncmd", np.ones((N, N)), np.eye(C))
    np.testing.assert_allclose(kernel.values, ones, rtol=0, atol=1e-12)
    with pytest.raises(DataError, match="holds the kernel of another network"):
        clntk.empirical_ntk(model, x, out=tmp_path / "k")


def test_of_a_symmetric_kernel_only_lower_tiles_are_on_disk(tmp_path):
    clntk.empirical_ntk(net(), inputs(), out=tmp_path / "one", block_bytes=bytes_of(3))
    assert tiles(tmp_path / "one") == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    for layout in LAYOUTS:
        out = tmp_path / f"two {layout}"
        clntk.empirical_ntk(net(), inputs(), inputs(4), out=out, layout=layout, block_bytes=bytes_of(3))
    assert tiles(tmp_path / "two ncmd") == [(i, j) for i in range(3) for j in range(2)]


def test_tiles_on_the_diagonal_are_computed_as_symmetric_ones(tmp_path, monkeypatch):
    seen = []
    original = request.contracted

    def watched(*args, **how):
        seen.append(how["symmetric"])
        return original(*args, **how)

    monkeypatch.setattr(request, "contracted", watched)
    clntk.empirical_ntk(net(), inputs(), out=tmp_path / "k", block_bytes=bytes_of(3))
    assert (seen.count(True), seen.count(False)) == (3, 3)


def test_a_tile_of_no_numbers_is_a_tile(tmp_path, monkeypatch):
    """A kernel may overflow; a Zarr array leaves out, unless told otherwise, what holds nothing but the fill value."""
    monkeypatch.setattr(request, "contracted", lambda left, *_, **how: torch.full((C, N, C, N), float("nan")))
    kernel = clntk.empirical_ntk(net(dtype=torch.float32), inputs().float(), out=tmp_path / "k")
    assert np.isnan(kernel.values).all()


def test_neighbouring_tiles_share_the_passes_through_the_network(tmp_path, monkeypatch):
    examples = []
    original = request.shares

    def watched(model, x, *arguments):
        examples.append(len(x))
        return original(model, x, *arguments)

    monkeypatch.setattr(request, "shares", watched)
    clntk.empirical_ntk(net(), inputs(), out=tmp_path / "few", block_bytes=bytes_of(3))
    assert examples == [3, 3, 1]  # all that is kept fits in four tiles
    examples.clear()
    clntk.empirical_ntk(net(), inputs(20), out=tmp_path / "many", block_bytes=bytes_of(1))
    # two are kept: a row of i + 1 tiles needs its own side and i others, but for the one that the row before ended with
    assert sum(examples) <= 20 + sum(range(20)) - 19


# --- reading ----------------------------------------------------------------------------------------------


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


# --- going on where it stopped ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no more memory")])
@pytest.mark.parametrize("block_bytes", [bytes_of(3), bytes_of(2), None])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_interrupted_it_goes_on_with_the_missing_tiles_and_the_tiling_begun(
    tmp_path, contractions, error, block_bytes, at
):
    model, x, out = net(), inputs(), tmp_path / "k"
    contractions.end(at, error)
    with pytest.raises(type(error)) as interruption:
        clntk.empirical_ntk(model, x, out=out, block_bytes=bytes_of(3))
    with pytest.raises(DataError, match=rf"{at - 1} of 6 tiles are there; call empirical_ntk again"):
        clntk.open_ntk(out)
    contractions.begin()
    kernel = clntk.empirical_ntk(model, x, out=out, block_bytes=block_bytes)
    assert contractions.count == 6 - (at - 1)
    assert kernel.attrs["tile"] == 3
    np.testing.assert_allclose(kernel.values, reference(model, x), rtol=0, atol=1e-12)
    contractions.begin()
    clntk.empirical_ntk(model, x, out=out)
    assert contractions.count == 0
    assert interruption.tb  # a notebook keeps the traceback, and with it all that was alive then


@pytest.mark.parametrize("cut", [0, 100, bytes_of(3) - 1])
def test_a_tile_cut_short_is_computed_anew(tmp_path, contractions, cut):
    model, x, out = net(), inputs(), tmp_path / "k"
    clntk.empirical_ntk(model, x, out=out, block_bytes=bytes_of(3))
    os.truncate(out / "c" / "2" / "0" / "1" / "0", cut)
    with pytest.raises(DataError, match=r"5 of 6 tiles are there"):
        clntk.open_ntk(out)
    contractions.begin()
    kernel = clntk.empirical_ntk(model, x, out=out)
    assert contractions.count == 1
    np.testing.assert_allclose(kernel.values, reference(model, x), rtol=0, atol=1e-12)


def write_slowly(out):
    """Runs in a process that will be killed."""
    original = request.contracted

    def slow(*args, **how):
        time.sleep(0.05)
        return original(*args, **how)

    request.contracted = slow
    clntk.empirical_ntk(net(), inputs(30), out=out, block_bytes=bytes_of(2))


def _python(code, *arguments):
    """A command that runs code beside this file."""
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    return [sys.executable, "-c", start + code, *map(str, arguments)]


def test_killed_it_goes_on(tmp_path, contractions):
    out = tmp_path / "k"
    process = subprocess.Popen(_python("import test_stored; test_stored.write_slowly(sys.argv[1])", out))
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None and not (out / "c" / "2").exists():
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = len([path for path in out.glob("c/*/*/*/*") if path.suffix != ".partial"])
    assert 3 <= there < 120
    kernel = clntk.empirical_ntk(net(), inputs(30), out=out)
    assert contractions.count == 120 - there
    np.testing.assert_allclose(kernel.values, reference(net(), inputs(30)), rtol=0, atol=1e-12)
    assert not list(out.rglob("*.partial"))


def test_leftovers_of_a_killed_process_are_removed(tmp_path, contractions):
    model, x, out = net(), inputs(), tmp_path / "k"
    contractions.end(4, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        clntk.empirical_ntk(model, x, out=out, block_bytes=bytes_of(3))
    leftovers = [out / "c" / "1" / "0" / "1" / "0.abcdef.partial", out / "zarr.abcdef.partial"]
    for leftover in leftovers:
        leftover.write_bytes(b"begun")
    contractions.begin()
    clntk.empirical_ntk(model, x, out=out)
    assert contractions.count == 3
    assert not any(leftover.exists() for leftover in leftovers)


# --- what is refused --------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "film.partial").write_text("mine too")
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match="expected a new folder, found one with other files in it"):
        clntk.empirical_ntk(net(), inputs(), out=tmp_path)
    assert snapshot(tmp_path) == before


def _damaged(store):
    Path(store).mkdir()
    Path(store, "zarr.json").write_text("{")


@pytest.mark.parametrize(
    "make",
    [zarr.create_group, lambda store: zarr.create_array(store, shape=(3,), dtype="f8"), _damaged],
    ids=["group", "array", "damaged"],
)
def test_other_zarr_folders_are_refused_and_left_alone(tmp_path, make):
    make(store=str(tmp_path / "other"))
    before = snapshot(tmp_path / "other")
    with pytest.raises(DataError, match="expected a new folder"):
        clntk.empirical_ntk(net(), inputs(), out=tmp_path / "other")
    with pytest.raises(DataError, match="expected a kernel written by"):
        clntk.open_ntk(tmp_path / "other")
    assert snapshot(tmp_path / "other") == before


def test_a_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"file: expected a new folder, found a file"):
        clntk.empirical_ntk(net(), inputs(), out=tmp_path / "file")
    with pytest.raises(DataError, match="expected a kernel written by"):
        clntk.open_ntk(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_nothing_to_open(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=r"expected a kernel written by clntk.empirical_ntk.*found none"):
            clntk.open_ntk(folder)


class Masked(nn.Module):
    """A mask that is not saved with the weights."""

    def __init__(self, mask):
        super().__init__()
        self.inner = net()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return self.inner(x) * self.mask


OTHERS = {
    "weights": lambda: ((net(seed=5), inputs()), {}),
    "inputs": lambda: ((net(), inputs(seed=5)), {}),
    "fewer inputs": lambda: ((net(), inputs()[:6]), {}),
    "another side": lambda: ((net(), inputs(), inputs()), {}),
    "mode": lambda: ((net(), inputs()), {"mode": "trace"}),
    "layout": lambda: ((net(), inputs()), {"layout": "cndm"}),
    "parameters": lambda: ((net(), inputs()), {"params": ["0.weight"]}),
    "precision": lambda: ((net(dtype=torch.float32), inputs().float()), {}),
    "activation": lambda: ((nn.Sequential(net()[0], nn.Sigmoid(), net()[2]), inputs()), {}),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("finished", [True, False])
def test_another_kernel_is_refused_and_left_alone(tmp_path, contractions, other, finished):
    out = tmp_path / "k"
    if finished:
        clntk.empirical_ntk(net(), inputs(), out=out, block_bytes=bytes_of(3))
    else:
        contractions.end(4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            clntk.empirical_ntk(net(), inputs(), out=out, block_bytes=bytes_of(3))
        contractions.begin()
    before, (arguments, options) = snapshot(out), OTHERS[other]()
    with pytest.raises(
        DataError, match="k: holds the kernel of another network, other inputs, or another mode"
    ):
        clntk.empirical_ntk(*arguments, out=out, **options)
    assert snapshot(out) == before


def test_what_several_outputs_are_made_into_tells_kernels_apart(tmp_path):
    clntk.empirical_ntk(net(), inputs(), mode="trace", out=tmp_path / "k")
    with pytest.raises(DataError, match="or another mode or layout"):
        clntk.empirical_ntk(net(), inputs(), mode="sum_logits", out=tmp_path / "k")


def test_shapes_and_dtypes_tell_inputs_apart():
    zeros = [torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(3, dtype=torch.float64), torch.zeros(6)]
    assert len({identity_of(net(), x) for x in zeros}) == 4
    assert len({identity_of(net(), *parts) for parts in ((None, "a"), ("a", None), ("a",), (None,))}) == 4
    assert identity_of(net(), zeros[0]) == identity_of(net(), zeros[0].clone())


def test_a_mask_that_is_not_saved_tells_networks_apart(tmp_path):
    first, second = (torch.tensor(mask, dtype=torch.bfloat16) for mask in ([1, 1, 0], [1, 0, 1]))
    kernel = clntk.empirical_ntk(Masked(first), inputs(), out=tmp_path / "k")
    np.testing.assert_allclose(kernel.values, reference(Masked(first), inputs()), rtol=0, atol=1e-12)
    assert clntk.empirical_ntk(Masked(first), inputs(), out=tmp_path / "k").identical(kernel)
    with pytest.raises(DataError, match="holds the kernel of another network"):
        clntk.empirical_ntk(Masked(second), inputs(), out=tmp_path / "k")


def test_a_second_writer_is_told(tmp_path):
    out = tmp_path / "k"
    with FileLock(tmp_path / ".k.lock"):
        with pytest.raises(DataError, match=r"k: another process is writing this kernel; wait for it"):
            clntk.empirical_ntk(net(), inputs(), out=out)
        assert [path.name for path in tmp_path.iterdir()] == [".k.lock"]
    assert clntk.empirical_ntk(net(), inputs(), out=out).shape == (N, C, N, C)


Disk = namedtuple("Disk", "total used free")


def test_too_small_a_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch, contractions):
    out, needed = tmp_path / "k", 6 * bytes_of(3)  # of whole tiles, those at the edge too: 3888 bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**6, 0, needed - 1))
    with pytest.raises(
        DataError,
        match=rf"expected 3.89 kB of free disk under {tmp_path}, found 3.89 kB; choose another place",
    ):
        clntk.empirical_ntk(net(), inputs(), out=out, block_bytes=bytes_of(3))
    assert not out.exists()
    assert contractions.count == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**6, 0, needed))
    contractions.end(3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        clntk.empirical_ntk(net(), inputs(), out=out, block_bytes=bytes_of(3))
    contractions.begin()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**6, 0, 1000))
    with pytest.raises(DataError, match=r"expected 2.59 kB of free disk under .*, found 1 kB"):
        clntk.empirical_ntk(net(), inputs(), out=out)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**6, 0, 4 * bytes_of(3)))
    clntk.empirical_ntk(net(), inputs(), out=out)  # two of six were there


@pytest.mark.parametrize("options", [{"mode": "diag"}, {"per_layer": True}])
def test_small_or_many_kernels_are_not_written(tmp_path, options):
    with pytest.raises(DataError, match=r"empirical_ntk.out: expected one kernel to write"):
        clntk.empirical_ntk(net(), inputs(), out=tmp_path / "k", **options)
    assert list(tmp_path.iterdir()) == []


MEASURE = """
import resource, torch, clntk
from torch import nn
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
for n in (50, 600):
    clntk.empirical_ntk(model, torch.randn(n, 64), out=f"{sys.argv[1]}/{n}", block_bytes=4 * 2**20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kB on Linux alone")
def test_memory_stays_bounded(tmp_path):
    found = subprocess.run(_python(MEASURE, tmp_path), capture_output=True, text=True, check=True)
    small, large = (1024 * int(line) for line in found.stdout.split())
    kernel = 6000**2 * 4  # bytes; of them a lower half of 83 MB in tiles of 4 MB is computed
    on_disk = sum(path.stat().st_size for path in (tmp_path / "600" / "c").rglob("*") if path.is_file())
    assert on_disk == 21 * 1000**2 * 4
    assert large - small < kernel / 3
