"""The state of one run in progress: train phase after phase, capture and save at every boundary, publish at the end."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from clntk.errors import Diverged
from clntk.importing import import_training
from clntk.protocol.spec import RunSpec, name_of, options_of
from clntk.runs.boundary import (
    generator_state,
    load_state,
    save_state,
    seed_generators,
    set_generator_state,
)
from clntk.runs.build import Built, build, component
from clntk.runs.events import Event, Listener, What
from clntk.runs.publish import publish
from clntk.runs.record import load_record, save_record, save_weights
from clntk.runs.store import RunStore
from clntk.seeding import Purpose, Seeds


class Session:
    """One run in progress; whoever goes through :meth:`phases` takes the epochs of each phase."""

    def __init__(self, spec: RunSpec, store: RunStore, listener: Listener) -> None:
        self.spec, self.store, self.listener = spec, store, listener
        self.work: Path = store.work(spec.run_id)
        self.rows: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.beside = 0  # how many other runs its epochs were taken together with
        self.seconds = 0.0
        self._since = time.perf_counter()

    def phases(self) -> Iterator[None]:
        """The run from where it stands to its publication, halting where :attr:`learner` has a phase begun, for its
        epochs to be taken."""
        import_training()
        from clntk.strategies.avalanche.watch import StepWatch

        self.store.clear_failure(self.spec.run_id)
        built = build(self.spec)
        self.watch = StepWatch(built.stream, self._on_epoch)
        self.learner, self.capture = self._prepare(built)
        self.watch.stream = self.learner.stream
        boundary = self.work / "boundary.pt"
        if boundary.exists():
            self._resume(load_state(boundary, self.work))
        else:
            seed_generators(Seeds(self.spec.seed).integer(Purpose.ORDER))
            self._tell(What.STARTED)
        for phase in self.learner.stream.phases[self.learner.phases_done :]:
            self.learner.begin(phase)
            yield
            self.learner.end()
            self._save_boundary(boundary)
            tested = {
                row["eval_task"]: row["value"]
                for row in self.rows
                if row["checkpoint"] == phase.name and row["metric"] == "test_accuracy"
            }
            done = self.learner.phases_done
            self._tell(What.BOUNDARY, phase=phase.name, done=done, test_accuracy=tested)
        publish(self)

    def taken_beside(self, others: int) -> None:
        """Note that the epochs of this phase were taken together with those of other runs: sums may round otherwise."""
        self.log.append(f"the epochs of this phase were taken together with those of {others} other runs")
        self.beside = max(self.beside, others)

    def _prepare(self, built: Built) -> tuple[Any, Any]:
        from clntk.capture.avalanche import CapturePlugin
        from clntk.capture.capture import Capture
        from clntk.strategies.learner import Setup

        device = torch.device(self.spec.device)
        capture = Capture(
            built.regime.model,
            {name_of(probe): options_of(probe) for probe in self.spec.probes},
            inputs={task.name: task.probe.x.to(device) for task in built.stream.tasks},
        )
        plugin = CapturePlugin(capture, [], self._on_record)
        setup = Setup(
            built.regime.model,
            built.stream,
            built.regime.lr_scale,
            self.spec.device,
            Seeds(self.spec.seed),
            [self.watch, plugin],
        )
        learner = component("strategy", self.spec.strategy, setup)
        capture.inputs = learner.with_tasks(capture.inputs)
        plugin.phases = [phase.name for phase in learner.stream.phases]
        plugin.tasks = [phase.stretch for phase in learner.stream.phases]
        return learner, capture

    def _on_record(self, record: Any) -> None:
        """A checkpoint was captured: keep its facts, its weights and how well every task is done."""
        from clntk.runs.performance import performance_rows

        save_record(self.work / "records", record)
        save_weights(self.work / "weights" / f"{record.checkpoint}.safetensors", self.learner.model)
        rows = performance_rows(self.learner, record)
        lost = [
            row["value"] for row in rows if row["metric"] == "train_loss" and not math.isfinite(row["value"])
        ]
        if lost and record.task:  # the last step of a phase has no next loss to show what it did
            raise Diverged(step=record.step, task=record.task, loss=lost[0])
        self.rows += rows
        tested = [row["value"] for row in rows if row["metric"] == "test_accuracy"]
        self.log.append(
            f"{record.checkpoint}: step {record.step}, test accuracy "
            + ", ".join(f"{value:.3f}" for value in tested)
        )

    def _on_epoch(self, phase: str, epoch: int, loss: float) -> None:
        self._tell(What.EPOCH, phase=phase, epoch=epoch, epochs=self.learner.training.epochs, loss=loss)

    def _save_boundary(self, path: Path) -> None:
        state = {
            "learner": self.learner.state_dict(),
            "generators": generator_state(),
            "records": [[r.checkpoint, r.step, r.task] for r in self.capture.records],
            "rows": self.rows,
            "log": self.log,
            "beside": self.beside,
            "seconds": self.elapsed(),
        }
        save_state(path, state)

    def _resume(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.capture.records += [load_record(self.work / "records", *entry) for entry in state["records"]]
        self.rows, self.log = list(state["rows"]), list(state["log"])
        self.beside, self.seconds = state["beside"], state["seconds"]
        set_generator_state(state["generators"])
        self._tell(What.RESUMED, done=self.learner.phases_done)

    def elapsed(self) -> float:
        """Seconds that it took, those before an interrupt among them."""
        return self.seconds + time.perf_counter() - self._since

    def _tell(self, what: What, **info: Any) -> None:
        phases = [phase.name for phase in self.learner.stream.phases]
        self.listener(Event(what, self.spec, {"phases": phases, **info}))
