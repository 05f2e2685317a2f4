"""A kernel written to disk tile by tile, here or on an engine's workers, and resumed where it stopped."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from clntk import registry
from clntk.engine import Lost
from clntk.errors import DataError
from clntk.kernels.budget import refuse_beyond_disk
from clntk.kernels.patches import Patches
from clntk.kernels.stored import FORMAT, existing, missing, open_ntk, tile_bytes, tiling_of
from clntk.kernels.tiling import AXES, Tiling

Tile = tuple[int, int]


def write(
    out: str | Path,
    tiling: Tiling,
    dtype: np.dtype,
    identity: str,
    patches: Patches,
    engine: str | Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Compute the tiles that are not there yet, and open the kernel.

    Args:
        out: a folder that is new, or holds this very kernel, whole or in part.
        tiling: how to cut a new kernel; one begun before keeps its own.
        dtype: of the numbers.
        identity: what tells this kernel from others; see :func:`identity_of`.
        patches: computes tiles, in the layout's order of axes.
        engine: where; by default in this process.

    Raises:
        DataError: for a folder that holds something else or is being written, a disk without room, or a tile that
            costs worker after worker its life.
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
        for leftover in out.rglob("*.partial"):  # of a process that was killed while it wrote
            leftover.unlink()
        tiles = missing(out, array)
        refuse_beyond_disk(len(tiles) * tile_bytes(tiling_of(array), array.dtype), out.parent)
        with _filled(out, patches, engine, tiles) as done:
            console = Console(stderr=True)
            for tile in track(
                done,
                "kernel tiles",
                total=len(tiles),
                console=console,
                disable=not console.is_terminal,
                transient=True,
            ):
                _refuse_lost(out, tile)
    return open_ntk(out)


@contextmanager
def _filled(
    out: Path, patches: Patches, engine: str | Mapping[str, Any] | None, tiles: list[Tile]
) -> Iterator[Iterable[Tile | Lost[Tile]]]:
    """Tiles as they get there."""
    if engine is None:
        yield map(_Fill(out, patches), tiles)
        return
    chosen = {"name": engine} if isinstance(engine, str) else dict(engine)
    backend = registry.get("engine", chosen.pop("name"))(**chosen)
    with closing(backend), patches.shared(out.with_name(f".{out.name}.inputs")) as shared:
        yield backend.map(_Fill(out.absolute(), shared), tiles, lambda message: None)


@dataclass
class _Fill:
    """Computes tiles and writes them: the work of an engine, of which a worker keeps what neighbouring tiles share."""

    out: Path
    patches: Patches

    def __call__(self, tile: Tile, tell: Callable | None = None) -> Tile:
        i, j = tile
        tiling = tiling_of(self._array)
        self._array[tiling.where(i, j)] = self.patches(tiling.examples(i), tiling.examples(j))
        return tile

    @cached_property
    def _array(self) -> zarr.Array:
        return existing(self.out, "r+")


def _refuse_lost(out: Path, tile: Tile | Lost[Tile]) -> None:
    if isinstance(tile, Lost):
        raise DataError(
            f"{out}: tile {tile.cell} could not be computed: {tile.reason}; give each worker more memory, or ask for "
            "smaller tiles (block_bytes)"
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


def _begin(out: Path, tiling: Tiling, dtype: np.dtype, identity: str) -> zarr.Array:
    found = existing(out, "r+")
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
    refuse_beyond_disk(tiling.count * tile_bytes(tiling, dtype), out.parent)
    attributes = {"format": FORMAT, "identity": identity, **vars(tiling)}
    return zarr.create_array(
        store=str(out),
        shape=tiling.shaped(tiling.n, tiling.m),
        chunks=tiling.tile_shape,
        dtype=dtype,
        fill_value=float("nan"),
        compressors=None,  # the digits of a kernel do not repeat
        attributes=attributes,
        dimension_names=AXES[tiling.layout],
        config={"write_empty_chunks": True},
    )
