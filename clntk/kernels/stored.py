"""A kernel on disk: written tile by tile, resumed where it stopped, and read as if it lay in memory."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from xarray.backends import BackendArray
from xarray.core import indexing

from clntk.errors import DataError
from clntk.kernels.budget import refuse_beyond_disk
from clntk.kernels.tiling import AXES, Tiling

FORMAT = "clntk kernel 1"


def write(
    out: str | Path,
    tiling: Tiling,
    dtype: np.dtype,
    identity: str,
    tile: Callable[[slice, slice], np.ndarray],
) -> xr.DataArray:
    """Compute the tiles that are not there yet, and open the kernel.

    Args:
        out: a folder that is new, or holds this very kernel, whole or in part.
        tiling: how to cut a new kernel; one begun before keeps its own.
        dtype: of the numbers.
        identity: what tells this kernel from others; see :func:`identity_of`.
        tile: computes the kernel of some examples of either side, in the layout's order of axes.

    Raises:
        DataError: for a folder that holds something else or is being written, or a disk without room.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"{out}: another process is writing this kernel; wait for it, or choose another out"
        ) from error
    with held:
        array = _begin(out, tiling, dtype, identity)
        tiling = _tiling(array)
        for leftover in out.rglob("*.partial"):  # of a process that was killed while it wrote
            leftover.unlink()
        missing = [(i, j) for i, j in tiling.tiles() if not _is_there(out, array, tiling, i, j)]
        refuse_beyond_disk(len(missing) * _tile_bytes(array), out.parent)
        console = Console(stderr=True)
        quiet = not console.is_terminal
        for i, j in track(missing, "kernel tiles", console=console, disable=quiet, transient=True):
            array[tiling.where(i, j)] = tile(tiling.examples(i), tiling.examples(j))
    return open_ntk(out)


def open_ntk(path: str | Path) -> xr.DataArray:
    """A kernel that :func:`clntk.empirical_ntk` wrote to disk, read only where it is looked at.

    Args:
        path: the folder given as ``out``.

    Returns:
        probe × output × other_probe × other_output (in the layout it was written in), or probe × other_probe.

    Raises:
        DataError: if there is no whole kernel.
    """
    path = Path(path)
    array = _existing(path)
    if array is None:
        raise DataError(f"{path}: expected a kernel written by clntk.empirical_ntk(..., out=...), found none")
    tiling = _tiling(array)
    there = [_is_there(path, array, tiling, i, j) for i, j in tiling.tiles()]
    if not all(there):
        raise DataError(
            f"{path}: {sum(there)} of {len(there)} tiles are there; call empirical_ntk again with the same network, "
            "inputs and out to finish it"
        )
    lazy = indexing.LazilyIndexedArray(_Stored(array, tiling))
    return xr.DataArray(
        xr.Variable(AXES[tiling.layout], lazy), attrs={"tile": tiling.side, "stored": str(path)}
    )


def identity_of(model: nn.Module, *parts: Tensor | str | None) -> str:
    """A hash of a network's structure and state, and of the inputs and options."""
    found = hashlib.sha256(repr(model).encode())
    for name, module in model.named_modules():  # a network may change its ways with an attribute
        plain = {k: v for k, v in vars(module).items() if isinstance(v, bool | int | float | str)}
        found.update(f"{name}:{sorted(plain.items())}".encode())
    buffers = model.named_buffers(remove_duplicate=False)  # the state lacks those that are not saved
    tensors = [*model.state_dict().items(), *buffers, *((str(i), part) for i, part in enumerate(parts))]
    for name, value in tensors:
        found.update(f"{name}:".encode())
        if isinstance(value, Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            value = flat.view(torch.uint8).numpy().tobytes()  # NumPy has no bfloat16
        found.update(value if isinstance(value, bytes) else str(value).encode())
    return found.hexdigest()


class _Stored(BackendArray):
    """A symmetric kernel's upper tiles are read from its lower ones."""

    def __init__(self, array: zarr.Array, tiling: Tiling) -> None:
        self.array, self.tiling = array, tiling
        self.shape, self.dtype = tiling.shaped(tiling.n, tiling.m), array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        if isinstance(key, indexing.VectorizedIndexer):
            return indexing.explicit_indexing_adapter(
                key, self.shape, indexing.IndexingSupport.OUTER, self._read
            )
        return self._read(key.tuple)  # xarray's way fails where a slice steps back over nothing

    def _read(self, key: tuple) -> np.ndarray:
        """Orthogonal indices, one an axis: the examples tile by tile, and the outputs within each."""
        indices = [np.atleast_1d(np.arange(size)[k]) for k, size in zip(key, self.shape, strict=True)]
        axes = AXES[self.tiling.layout]
        out = np.empty([len(index) for index in indices], self.dtype)
        rows, columns = axes.index("probe"), axes.index("other_probe")
        for (i, r), (j, c) in itertools.product(self._split(indices[rows]), self._split(indices[columns])):
            into = [np.arange(len(index)) for index in indices]
            from_ = list(indices)
            into[rows], into[columns] = r, c
            from_[rows] = indices[rows][r] - i * self.tiling.side
            from_[columns] = indices[columns][c] - j * self.tiling.side
            out[np.ix_(*into)] = self._tile(i, j)[np.ix_(*from_)]
        return out[tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key)]

    def _split(self, index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The tiles that examples fall into, and which of the examples."""
        tile = index // self.tiling.side
        for i in np.unique(tile):
            yield int(i), np.flatnonzero(tile == i)

    def _tile(self, i: int, j: int) -> np.ndarray:
        if not self.tiling.symmetric or j <= i:
            return self.array[self.tiling.where(i, j)]
        lower = self.array[self.tiling.where(j, i)]
        half = lower.ndim // 2
        return lower.transpose(*range(half, 2 * half), *range(half))


def _begin(out: Path, tiling: Tiling, dtype: np.dtype, identity: str) -> zarr.Array:
    found = _existing(out)
    if found is not None:
        if found.attrs["identity"] != identity:
            raise DataError(
                f"{out}: holds the kernel of another network, other inputs, or another mode or layout; choose another "
                "out, or remove it"
            )
        return found
    if out.is_file():
        raise DataError(f"{out}: expected a new folder, found a file; choose another out")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: expected a new folder, found one with other files in it; choose another out")
    side = tiling.side
    tile_bytes = int(np.prod(tiling.shaped(side, side))) * dtype.itemsize
    refuse_beyond_disk(len(list(tiling.tiles())) * tile_bytes, out.parent)
    attributes = {"format": FORMAT, "identity": identity, **vars(tiling)}
    return zarr.create_array(
        store=str(out),
        shape=tiling.shaped(tiling.n, tiling.m),
        chunks=tiling.shaped(side, side),
        dtype=dtype,
        fill_value=float("nan"),
        compressors=None,  # the digits of a kernel do not repeat
        attributes=attributes,
        dimension_names=AXES[tiling.layout],
        config={"write_empty_chunks": True},
    )


def _existing(path: Path) -> zarr.Array | None:
    try:
        array = zarr.open_array(store=str(path), mode="r+") if path.is_dir() else None
    except (FileNotFoundError, ValueError):  # no Zarr, a group, or metadata that cannot be read
        return None
    return array if array is not None and array.attrs.get("format") == FORMAT else None


def _tiling(array: zarr.Array) -> Tiling:
    return Tiling(**{name: array.attrs[name] for name in Tiling.__dataclass_fields__})


def _tile_bytes(array: zarr.Array) -> int:
    return int(np.prod(array.chunks)) * array.dtype.itemsize


def _is_there(path: Path, array: zarr.Array, tiling: Tiling, i: int, j: int) -> bool:
    """Tiles appear whole, under their final names; the size tells one that a crash of the machine cut short."""
    number = {"probe": i, "other_probe": j}
    file = path.joinpath("c", *(str(number.get(axis, 0)) for axis in AXES[tiling.layout]))
    return file.exists() and file.stat().st_size == _tile_bytes(array)
