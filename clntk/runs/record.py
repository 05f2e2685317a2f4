"""A run's facts on disk: one file a checkpoint while it runs, the published layout when it is done."""

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from clntk.capture.capture import Record, facts_tree
from clntk.runs.boundary import load_state, save_state
from clntk.runs.files import write_atomic

WEIGHTS = "weights/"


def save_weights(path: Path, model: nn.Module) -> None:
    """Parameters and buffers as safetensors; the metadata says which are parameters."""
    tensors: dict[str, Tensor] = {
        k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()
    }
    parameters = [name for name, _ in model.named_parameters()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save_tensors(tensors, metadata={"parameters": "\n".join(parameters)}))


def save_record(folder: Path, record: Record) -> None:
    """One checkpoint's facts, without weights, which have their own files."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {name: _packed(fact.to_dict(data="array")) for name, fact in _without_weights(record).items()}
    save_state(folder / f"{record.checkpoint}.pt", facts)


def load_record(folder: Path, checkpoint: str, step: int, task: str) -> Record:
    """The facts that :func:`save_record` wrote.

    Raises:
        ClntkError: if they are damaged.
    """
    saved = load_state(folder / f"{checkpoint}.pt", folder.parent)
    facts = {name: xr.DataArray.from_dict(_unpacked(fact)) for name, fact in saved.items()}
    return Record(checkpoint, step, task, facts)


def _packed(value: Any) -> Any:
    """Arrays of numbers as tensors, and arrays of text as lists: what can be loaded without executing anything."""
    if isinstance(value, dict):
        return {key: _packed(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in "OSU" else torch.from_numpy(np.ascontiguousarray(value))
    return list(value) if isinstance(value, tuple) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unpacked(part) for key, part in value.items()}
    return value.numpy() if isinstance(value, Tensor) else value


def write_facts(
    path: Path, records: Iterable[Record], extra: dict[str, xr.Dataset], attrs: dict[str, object]
) -> None:
    """All checkpoints and the run's own groups as one NetCDF file with provenance in its attributes."""
    kept = [Record(r.checkpoint, r.step, r.task, _without_weights(r)) for r in records]
    tree = facts_tree(kept)
    for name, dataset in extra.items():
        tree[f"/{name}"] = xr.DataTree(dataset)
    tree.attrs.update(attrs)
    _write_tree(tree, path)


def _without_weights(record: Record) -> dict[str, xr.DataArray]:
    return {name: fact for name, fact in record.facts.items() if not name.startswith(WEIGHTS)}


def _write_tree(tree: xr.DataTree, path: Path) -> None:
    encoding = {
        node.path: {
            name: {"zlib": True, "complevel": 1}
            for name, v in node.dataset.data_vars.items()
            if v.dtype.kind == "f"
        }
        for node in tree.subtree
    }
    # in memory first: HDF5 ends the process with a segmentation fault where a disk fills up under it
    with _no_scheduler():
        data = tree.to_netcdf(engine="netcdf4", encoding={k: v for k, v in encoding.items() if v})
    write_atomic(path, data)


def _no_scheduler() -> AbstractContextManager[Any]:
    """On a Dask worker, or with a Dask client at hand, xarray asks the scheduler for a lock; memory needs none."""
    dask = sys.modules.get("dask")
    return nullcontext() if dask is None else dask.config.set(scheduler="synchronous")
