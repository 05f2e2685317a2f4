"""Kernels on disk: the same numbers, resumed after any end, within the memory that they may take."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stored_kernels import LAYOUTS, C, N, bytes_of, inputs, net, tiles
from test_rules import reference

import clntk
from clntk.errors import DataError
from clntk.kernels import request

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
    start = f"import sys; sys.path[:0] = {list(map(str, Path(__file__).parents[:2]))}; "
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


# --- memory -----------------------------------------------------------------------------------------------


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
