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
from clntk.capture.capture import Capture
from clntk.protocol.spec import FORMAT, RunSpec
from clntk.provenance import environment
from clntk.runs.files import sha256, write_atomic, write_json, write_yaml
from clntk.runs.record import write_facts
from clntk.runs.store import RunStore
from clntk.runs.used import components
from clntk.strategies.learner import Learner, head_mask
from clntk.streams.base import TaskStream

if TYPE_CHECKING:
    from clntk.strategies.avalanche.watch import StepWatch


def publish(
    spec: RunSpec,
    store: RunStore,
    learner: Learner,
    capture: Capture,
    watch: "StepWatch",
    rows: list[dict[str, Any]],
    log: list[str],
    beside: int,
    seconds: float,
) -> Path:
    """Write a run's folder beside its work and move it into place whole."""
    work = store.work(spec.run_id)
    folder = work / "publish"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stream = learner.stream
    code = environment()
    attrs = {
        "run": spec.run_id,
        "spec": json.dumps(spec.as_dict()),
        "clntk": code["clntk"],
        "chance": stream.chance,
        "accuracy": stream.accuracy,
        "target": stream.target,
    }
    extra = {
        "losses": _steps(watch),
        "schedule": _schedule(stream),
        "probes": _probes(learner),
        "stream": stream.descriptors,
        **learner.facts,
    }
    write_facts(folder / "facts.nc", capture.records, extra, attrs)
    table = pd.DataFrame(rows)
    table.insert(0, "run", spec.run_id)
    table.insert(1, "regime", spec.regime)
    table.insert(2, "seed", spec.seed)
    write_atomic(folder / "metrics.parquet", table.to_parquet(index=False))
    # a process that was killed while writing leaves a hidden file behind
    shutil.copytree(work / "weights", folder / "weights", ignore=shutil.ignore_patterns(".*"))
    write_yaml(folder / "spec.yaml", spec.as_dict())
    write_atomic(folder / "log.txt", ("\n".join([*stream.notes, *log]) + "\n").encode())
    write_json(
        folder / "provenance.json",
        {
            "format": FORMAT,
            "run": spec.run_id,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "steps": learner.steps,
            "device": spec.device,
            "trained": f"beside {beside} other runs" if beside else "alone",
            "notes": list(stream.notes),
            "sources": sources(spec),
            **code,
            "files": {
                str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        },
    )
    return store.publish(spec.run_id, folder)


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
