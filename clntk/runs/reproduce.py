"""A published run, run again from its own spec: the same bits, or where they part."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT
from clntk.errors import ClntkError, StoreError
from clntk.runs.execute import execute
from clntk.runs.opened import Run
from clntk.runs.store import RunStore
from clntk.runs.used import refuse_unnamed_or_changed

WHEN = {"finished", "seconds", "files", "command", "run"}  # differ from run to run, and say nothing


@dataclass(frozen=True)
class Difference:
    """One fact that came out otherwise.

    Args:
        fact: its name.
        checkpoint: the first at which it differs; "" for facts without checkpoints.
        largest: absolute difference; NaN for what is no number or has another shape.
        relative: to the largest absolute value published.
    """

    fact: str
    checkpoint: str
    largest: float
    relative: float

    def __str__(self) -> str:
        where = f" from checkpoint {self.checkpoint}" if self.checkpoint else ""
        if np.isnan(self.largest):
            return f"{self.fact}: differs{where}, in shape or kind"
        return f"{self.fact}: differs{where} by up to {self.largest:.3g} ({self.relative:.3g} of the largest value)"


@dataclass(frozen=True)
class Reproduction:
    """How a run came out when it was run again.

    Args:
        run_id: which run.
        differences: facts that differ in any bit.
        circumstances: what differs in the provenance: name → published, now.
    """

    run_id: str
    differences: list[Difference] = field(default_factory=list)
    circumstances: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether all facts, metrics and weights are the same to the bit."""
        return not self.differences


def reproduce(path: str | Path, *, store: str | Path | None = None) -> Reproduction:
    """Run a published run again from its own spec, on this machine, and compare bit for bit.

    Components of a user's own have to be named before, with :func:`clntk.use`: a run loads no code by itself.

    Args:
        path: the folder of the run.
        store: where the new run goes, and stays; by default it is dropped after the comparison.

    Raises:
        StoreError: if components were not named or have changed, or ``store`` holds the published run itself.
        DamagedRun, NewerFormat: if the run cannot be read.
        ClntkError: if it fails this time.
    """
    published = Run(Path(path).resolve())
    refuse_unnamed_or_changed(published.spec)
    with TemporaryDirectory(prefix="clntk-reproduce-") as folder:
        root = Path(folder if store is None else store).resolve()
        if root == published.path.parent:
            raise StoreError(f"{root}: holds the published run itself; choose another store, or leave it out")
        target = RunStore(root)
        target.enrol([published.spec])
        outcome = execute(published.spec, target, wait=True)
        if outcome.status == "failed":
            raise ClntkError(f"{published.run_id} failed when it was run again: {outcome.message}")
        return compared_runs(published, Run(target.published(published.spec.run_id)))


def compared_runs(published: Run, again: Run) -> Reproduction:
    """Two runs of one spec: whether they are the same to the bit, and how else they differ.

    Raises:
        DamagedRun, NewerFormat: if one of them cannot be read.
    """
    before, now = _numbers(published), _numbers(again)
    differences = [
        d for name in sorted({*before, *now}) if (d := _difference(name, before.get(name), now.get(name)))
    ]
    old, new = published.provenance, again.provenance
    circumstances = {
        key: (old.get(key), new.get(key))
        for key in sorted({*old, *new} - WHEN)
        if old.get(key) != new.get(key)
    }
    return Reproduction(published.run_id, differences, circumstances)


def _numbers(run: Run) -> dict[str, xr.DataArray]:
    """All numbers of a run by name."""
    found = {
        f"{node.path.strip('/')}/{name}": value
        for node in run.tree.subtree
        for name, value in node.dataset.data_vars.items()
    }
    found |= {f"metrics/{name}": value for name, value in run.fact("metrics").data_vars.items()}
    return found | {f"weights/{name}": value for name, value in run.fact("weights").data_vars.items()}


def _difference(name: str, before: xr.DataArray | None, now: xr.DataArray | None) -> Difference | None:
    if before is None or now is None or before.shape != now.shape or before.dtype != now.dtype:
        return Difference(name, "", float("nan"), float("nan"))
    a, b = before.values, now.values
    if a.tobytes() == b.tobytes() or (a.dtype.kind in "OSUT" and np.array_equal(a, b)):
        return None
    checkpoint = ""
    if CHECKPOINT in before.dims:
        axis = before.dims.index(CHECKPOINT)
        rows = zip(np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0), strict=True)
        first = next(i for i, (x, y) in enumerate(rows) if x.tobytes() != y.tobytes())
        checkpoint = str(before[CHECKPOINT].values[first])
    if a.dtype.kind not in "fiub":
        return Difference(name, checkpoint, float("nan"), float("nan"))
    x, y = a.astype(np.float64), b.astype(np.float64)
    largest = float(np.nanmax(np.abs(x - y), initial=0.0))
    return Difference(name, checkpoint, largest, largest / (float(np.nanmax(np.abs(x), initial=0.0)) or 1.0))
