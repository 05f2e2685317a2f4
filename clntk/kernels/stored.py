"""A kernel on disk, read as if it lay in memory."""

import itertools
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
import zarr
from pydantic import BaseModel, ConfigDict, Field
from xarray.backends import BackendArray
from xarray.core import indexing

from clntk.errors import DataError
from clntk.kernels.tiling import AXES, Tiling
from clntk.text_files import read_json

FORMAT = "clntk kernel 1"
MOST = 10**7  # tiles of a kernel
_STRICT = ConfigDict(strict=True)
_Size = Annotated[int, Field(ge=1, lt=2**40)]


class _Attributes(BaseModel):
    model_config = _STRICT

    format: Literal["clntk kernel 1"]
    identity: str
    n: _Size
    m: _Size
    outputs: _Size
    side: _Size
    layout: Literal["ncmd", "cndm", "nm"]
    symmetric: bool


class _Metadata(BaseModel):
    """Of a Zarr array; a codec that is none of ours would unpack whatever it is told to."""

    model_config = _STRICT

    zarr_format: Literal[3]
    node_type: Literal["array"]
    data_type: Literal["float16", "float32", "float64"]
    codecs: list[Any]
    chunk_grid: dict[str, Any]
    chunk_key_encoding: dict[str, Any]
    shape: list[int]
    storage_transformers: Annotated[list[Any], Field(max_length=0)] = []
    attributes: _Attributes


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
    array = existing(path)
    if array is None:
        raise DataError(f"{path}: expected a kernel written by clntk.empirical_ntk(..., out=...), found none")
    tiling = tiling_of(array)
    absent = len(missing(path, array))
    if absent:
        raise DataError(
            f"{path}: {tiling.count - absent} of {tiling.count} tiles are there; call empirical_ntk again with the "
            "same network, inputs and out to finish it"
        )
    lazy = indexing.LazilyIndexedArray(_Stored(array, tiling))
    return xr.DataArray(
        xr.Variable(AXES[tiling.layout], lazy), attrs={"tile": tiling.side, "stored": str(path)}
    )


def existing(path: Path, mode: Literal["r", "r+"] = "r") -> zarr.Array | None:
    """The kernel in a folder, which may come from a stranger: numbers in tiles as clntk writes them; None for anything
    else."""
    try:
        read = _Metadata.model_validate(read_json(path / "zarr.json"))
    except (OSError, ValueError):
        return None
    kept = vars(read.attributes)
    tiling = Tiling(**{name: kept[name] for name in Tiling.__dataclass_fields__})
    laid_out = {
        "shape": list(tiling.shaped(tiling.n, tiling.m)),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(tiling.tile_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }
    if any(getattr(read, name) != expected for name, expected in laid_out.items()):
        return None
    with zarr.config.set({"array.write_empty_chunks": True}):  # a tile of no numbers is a tile
        return zarr.open_array(store=str(path), mode=mode)


def tiling_of(array: zarr.Array) -> Tiling:
    """How a kernel on disk is cut."""
    return Tiling(**{name: array.attrs[name] for name in Tiling.__dataclass_fields__})


def tile_bytes(tiling: Tiling, dtype: np.dtype) -> int:
    """Of a tile on disk, those at the edge too."""
    return math.prod(tiling.tile_shape) * dtype.itemsize


def missing(path: Path, array: zarr.Array) -> list[tuple[int, int]]:
    """The tiles that are not there yet.

    Tiles appear whole, under their final names; the size tells one that a crash of the machine cut short.

    Raises:
        DataError: for a kernel of more tiles than files could be.
    """
    tiling = tiling_of(array)
    if tiling.count > MOST:
        raise DataError(
            f"{path}: expected at most {MOST} tiles, found {tiling.count}; write it in larger ones"
        )
    expected = tile_bytes(tiling, array.dtype)
    return [tile for tile in tiling.tiles() if _size(path, tiling, *tile) != expected]


def _size(path: Path, tiling: Tiling, i: int, j: int) -> int | None:
    number = {"probe": i, "other_probe": j}
    file = path.joinpath("c", *(str(number.get(axis, 0)) for axis in AXES[tiling.layout]))
    try:
        found = file.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


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
