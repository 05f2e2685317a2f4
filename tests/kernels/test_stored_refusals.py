"""Kernels on disk that are refused, before anything is written and with all that was there left alone."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from filelock import FileLock
from stored_kernels import C, N, bytes_of, inputs, net, snapshot
from test_rules import reference
from torch import nn

import clntk
from clntk.errors import DataError
from clntk.kernels.write import identity_of


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
