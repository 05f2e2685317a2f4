"""One published run, opened from disk: labelled facts, read when they are asked for."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from safetensors import safe_open

from clntk.axes import CHECKPOINT, EVAL_TASK, STEP
from clntk.errors import StoreError
from clntk.protocol.spec import RunSpec
from clntk.runs.derived import DERIVED, derive
from clntk.runs.facts_file import refuse_hostile
from clntk.runs.files import sha256
from clntk.runs.metrics_file import read_metrics
from clntk.runs.published import damaged, read_published, reading

if TYPE_CHECKING:
    import torch
    from torch import nn

    from clntk.runs.rebuild import ProbeSets


class Run:
    """One published run.

    Args:
        path: its folder.
        spec: its spec, by who has just checked the folder; otherwise it is checked now.

    Raises:
        DamagedRun, NewerFormat: as :func:`clntk.runs.published.read_published` says.
    """

    def __init__(self, path: Path, spec: RunSpec | None = None) -> None:
        self.path = path
        if spec is None:
            spec, self.provenance = read_published(path)
        self.spec = spec
        self._facts: dict[str, Any] = {}
        self.measured: dict[Any, Any] = {}  # what measures gave of it

    def _repr_html_(self) -> str:
        from clntk.runs.display import run_html

        return run_html(self)

    @property
    def run_id(self) -> str:
        return self.path.name

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """How it was made, and the checksums of its files.

        Raises:
            DamagedRun, NewerFormat: as :func:`clntk.runs.published.read_published` says.
        """
        return read_published(self.path)[1]

    def fact(self, name: str) -> Any:
        """A recorded fact, read once: ``metrics``, ``weights`` (Dataset), ``activations`` (layer → array), ``stream``
        (how alike the tasks are, a Dataset: see :func:`clntk.streams.descriptors.task_similarity`), the array of any
        other probe; or one of :data:`clntk.runs.derived.DERIVED`, computed from weights and probes.

        Raises:
            StoreError: if this run did not record it, or too little to compute it.
        """
        if name not in self._facts:
            self._facts[name] = self._read(name)
        return self._facts[name]

    def _read(self, name: str) -> Any:
        readers = {"metrics": self._metrics, "weights": self._weights}
        if name in readers:
            with reading(self.path, name):
                return readers[name]()
        if name in DERIVED and name not in self.tree.children:
            return derive(name, self)
        return self._from_tree(name)

    @cached_property
    def tree(self) -> xr.DataTree:
        """All of facts.nc, in memory."""
        content = (self.path / "facts.nc").read_bytes()
        self._check("facts.nc", hashlib.sha256(content).hexdigest())
        with reading(self.path, "facts.nc"):
            refuse_hostile(content)
            # not its path: NetCDF's library takes some names of files for addresses
            with xr.open_datatree(content, engine="netcdf4") as tree:
                for variable in (v for node in tree.subtree for v in node.variables.values()):
                    variable.load()  # tree.load() passes over one that is called as its group is
            schedule = tree["schedule"].dataset
            if not {"trained", CHECKPOINT, EVAL_TASK} <= set(schedule.variables):
                raise ValueError("it does not say when what was trained")
            return tree

    @property
    def checkpoints(self) -> list[str]:
        """Labels of the checkpoints, in order."""
        return [str(label) for label in self.tree["schedule"].dataset[CHECKPOINT].values]

    def network(self, checkpoint: str, *, dtype: "torch.dtype | None" = None) -> "nn.Module":
        """The network at a checkpoint, rebuilt from this folder alone, on the CPU, in eval mode; a new one each time.

        With all that belongs to it: a regime's copy at initialisation, gates, weights shared out among tasks. Where it
        depends on the task, it takes inputs with their task, as those of :attr:`probe_sets` are.

        Args:
            checkpoint: one of :attr:`checkpoints`.
            dtype: of its weights; by default that in which they were trained.

        Raises:
            StoreError: for an unknown checkpoint, a run of a clntk that stored too little, a model or regime that has
                changed since.
            DamagedRun: if a file is not what was published.
        """
        from safetensors.torch import load_file

        from clntk.runs.rebuild import rebuild

        if checkpoint not in self.checkpoints:
            known = ", ".join(self.checkpoints)
            raise StoreError(
                f"{self.path}: expected a checkpoint of {known}, found {checkpoint!r}; choose one of them"
            )
        name = f"weights/{checkpoint}.safetensors"
        file = self._checked(name)
        with reading(self.path, name):
            tensors = load_file(file)
        network = rebuild(self.spec, tensors, self.probe_sets.stream, file)
        return network if dtype is None else network.to(dtype)

    @cached_property
    def probe_sets(self) -> "ProbeSets":
        """Each task's probes as the network takes them, with targets, heads and the loss.

        Raises:
            StoreError: for a run of a clntk that did not yet store all of these.
        """
        from clntk.runs.rebuild import stored_probe_sets

        path = self._checked(f"weights/{self.checkpoints[0]}.safetensors")
        with reading(self.path, "weights and probes"):
            with safe_open(path, framework="numpy") as file:
                names = list(file.keys())
            return stored_probe_sets(self.spec, self.fact("probes"), self.tree.attrs, names, self.path)

    def _from_tree(self, name: str) -> Any:
        if name not in self.tree.children:
            recorded = sorted([*self.tree.children, "metrics", "weights"])
            missing = f"add {name} to the protocol's probes and run it again"
            if name == "stream":
                missing = "it was stored by a clntk that did not yet record how alike tasks are; run it again"
            raise StoreError(f"{self.path}: holds no {name!r}, only {', '.join(recorded)}; {missing}")
        node = self.tree[name]
        if node.children:
            return {layer: child.dataset[layer] for layer, child in node.children.items()}
        return node.dataset.get(name, node.dataset)

    def _metrics(self) -> xr.Dataset:
        path = self._checked("metrics.parquet")
        table = read_metrics(path)
        schedule = self.tree["schedule"].dataset
        wide = table.pivot(index=["checkpoint", "eval_task"], columns="metric", values="value").to_xarray()
        wide = wide.reindex({CHECKPOINT: schedule[CHECKPOINT].values, EVAL_TASK: schedule[EVAL_TASK].values})
        steps = table.drop_duplicates("checkpoint").set_index("checkpoint")["step"]
        out = wide.assign(trained=schedule["trained"])
        out = out.assign_coords({STEP: (CHECKPOINT, steps.loc[list(out[CHECKPOINT].values)].to_numpy())})
        out.attrs.update(chance=self.tree.attrs["chance"])
        return out

    def _weights(self) -> xr.Dataset:
        labels = self.checkpoints
        files = [load_parameters(self._checked(f"weights/{label}.safetensors")) for label in labels]
        arrays = {}
        for name in files[0]:
            stacked = [
                xr.DataArray(f[name], dims=[f"{name}.{i}" for i in range(f[name].ndim)]) for f in files
            ]
            arrays[name] = xr.concat(stacked, dim=pd.Index(labels, name=CHECKPOINT))
        return xr.Dataset(arrays)

    def _checked(self, name: str) -> Path:
        """The path of a file whose content is what was published."""
        path = self.path / name
        self._check(name, sha256(path))
        return path

    def _check(self, name: str, found: str) -> None:
        expected = self.provenance["files"].get(name)
        if expected is None or found != expected["sha256"]:
            raise damaged(self.path, f"{name} is not what was published (its checksum differs)")


def load_parameters(path: Path) -> dict[str, np.ndarray]:
    """The parameters (not the buffers) of a weights file, by name."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.metadata()["parameters"].split("\n")}
