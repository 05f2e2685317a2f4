"""The published layout of a finished run."""

import datetime
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from clntk import registry
from clntk.axes import CHECKPOINT, EVAL_TASK, OUTPUT, PROBE, STEP
from clntk.protocol.spec import FORMAT, RunSpec
from clntk.provenance import environment
from clntk.runs.files import sha256, write_atomic, write_json, write_yaml
from clntk.runs.record import write_facts
from clntk.runs.used import components
from clntk.strategies.learner import Learner, head_mask
from clntk.streams.base import TaskStream

if TYPE_CHECKING:
    from clntk.runs.session import Session
    from clntk.strategies.avalanche.watch import StepWatch


def publish(run: "Session") -> Path:
    """Write the folder of a run that has come to its end beside its work, and move it into place whole."""
    work = run.store.work(run.spec.run_id)
    folder = work / "publish"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    code = environment()
    _write_facts(run, folder / "facts.nc", code["clntk"])
    _write_metrics(run, folder / "metrics.parquet")
    # a process that was killed while writing leaves a hidden file behind
    shutil.copytree(work / "weights", folder / "weights", ignore=shutil.ignore_patterns(".*"))
    write_yaml(folder / "spec.yaml", run.spec.as_dict())
    log = [*run.learner.stream.notes, *run.log]
    write_atomic(folder / "log.txt", ("\n".join(log) + "\n").encode())
    write_json(folder / "provenance.json", _provenance(run, folder, code))
    return run.store.publish(run.spec.run_id, folder)


def _write_facts(run: "Session", path: Path, version: str) -> None:
    stream = run.learner.stream
    attrs = {
        "run": run.spec.run_id,
        "spec": json.dumps(run.spec.as_dict()),
        "clntk": version,
        "chance": stream.chance,
        "accuracy": stream.accuracy,
        "target": stream.target,
    }
    extra = {
        "losses": _steps(run.watch),
        "schedule": _schedule(stream),
        "probes": _probes(run.learner),
        "stream": stream.descriptors,
        **run.learner.facts,
    }
    write_facts(path, run.capture.records, extra, attrs)


def _write_metrics(run: "Session", path: Path) -> None:
    table = pd.DataFrame(run.rows)
    table.insert(0, "run", run.spec.run_id)
    table.insert(1, "regime", run.spec.regime)
    table.insert(2, "seed", run.spec.seed)
    write_atomic(path, table.to_parquet(index=False))


def _provenance(run: "Session", folder: Path, code: dict[str, Any]) -> dict[str, Any]:
    """How the run was made, and the checksums of the files that lie in its folder."""
    return {
        "format": FORMAT,
        "run": run.spec.run_id,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(run.elapsed(), 3),
        "steps": run.learner.steps,
        "device": run.spec.device,
        "trained": f"beside {run.beside} other runs" if run.beside else "alone",
        "notes": list(run.learner.stream.notes),
        "sources": sources(run.spec),
        **code,
        "files": {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }


def sources(spec: RunSpec) -> list[str]:
    """The papers that a run's components name, as their docstrings write them."""
    found = (registry.get(kind, name).reference for kind, name in components(spec))
    return list(dict.fromkeys(reference for reference in found if reference))


def _steps(watch: "StepWatch") -> xr.Dataset:
    """Loss and accuracy of every minibatch, before its step."""
    columns = {"loss": watch.losses, "accuracy": watch.accuracies}
    return xr.Dataset(
        {name: (STEP, np.asarray(values, dtype=np.float64)) for name, values in columns.items()},
        coords={STEP: np.arange(1, len(watch.losses) + 1)},
    )


def _schedule(stream: TaskStream) -> xr.Dataset:
    """Which tasks were trained in the phase that ends at each checkpoint; none before the first."""
    trained = np.zeros((1 + len(stream.phases), len(stream.tasks)), dtype=bool)
    for row, phase in enumerate(stream.phases, start=1):
        trained[row, list(phase.tasks)] = True
    labels = ["init", *(phase.name for phase in stream.phases)]
    return xr.Dataset(
        {"trained": ((CHECKPOINT, EVAL_TASK), trained)},
        coords={CHECKPOINT: labels, EVAL_TASK: stream.task_names},
    )


def _probes(learner: Learner) -> xr.Dataset:
    """Inputs and targets of the probe sets, what every fact of the run was seen through, and the outputs of each task.

    With the loss, and the input groups that models and regimes go by, that is all that networks can be rebuilt and
    judged from without the data.
    """
    stream, heads = learner.stream, head_mask(learner.stream)
    x = np.stack([task.probe.x.numpy() for task in stream.tasks])
    y = np.stack([task.probe.y.numpy() for task in stream.tasks])
    features = [f"feature_{i}" for i in range(x.ndim - 2)]
    targets = [f"target_{i}" for i in range(y.ndim - 2)]
    allowed = np.ones((len(stream.tasks), stream.outputs), dtype=bool) if heads is None else heads.numpy()
    return xr.Dataset(
        {
            "inputs": ((EVAL_TASK, PROBE, *features), x),
            "targets": ((EVAL_TASK, PROBE, *targets), y),
            "heads": ((EVAL_TASK, OUTPUT), allowed),
        },
        coords={EVAL_TASK: stream.task_names},
        attrs={
            "accuracy": stream.accuracy,
            "loss": learner.loss.name,
            "input_groups": json.dumps(stream.input_groups),
        },
    )
