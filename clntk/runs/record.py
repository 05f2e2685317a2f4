"""A run's facts on disk: one file a checkpoint while it runs, the published layout when it is done."""

from collections.abc import Iterable
from pathlib import Path

import xarray as xr
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from clntk.axes import CHECKPOINT
from clntk.capture.capture import Record, facts_tree
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
    tree = facts_tree([Record(record.checkpoint, record.step, record.task, _without_weights(record))])
    _write_tree(tree, folder / f"{record.checkpoint}.nc")


def load_record(folder: Path, checkpoint: str, step: int, task: str) -> Record:
    """The facts that :func:`save_record` wrote."""
    facts = {}
    with xr.open_datatree(folder / f"{checkpoint}.nc", engine="h5netcdf") as tree:
        for node in tree.leaves:
            name = node.path.lstrip("/")
            array = node.dataset[name.rpartition("/")[2]].load().isel({CHECKPOINT: 0}, drop=True)
            facts[name] = array.drop_vars(["step", "task"], errors="ignore")
    return Record(checkpoint, step, task, facts)


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
    data = tree.to_netcdf(engine="h5netcdf", encoding={k: v for k, v in encoding.items() if v})
    write_atomic(path, data)
