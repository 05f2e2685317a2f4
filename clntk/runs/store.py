"""The run store: one folder a run, published whole by one rename, never edited afterwards."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from clntk.errors import DamagedRun, NewerFormat, StoreError
from clntk.protocol.spec import FORMAT, RunSpec
from clntk.runs.files import disk_errors, fsync, is_refusal, read_yaml, sha256, write_json, write_yaml

WORK = ".work"
LOCKS = ".locks"


class State(StrEnum):
    """Where a run stands."""

    DONE = "done"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    PENDING = "pending"
    FAILED = "failed"
    DAMAGED = "damaged"
    NEWER = "newer format"


@dataclass(frozen=True)
class Standing:
    """One run of a store, its state, and a sentence on it."""

    run_id: str
    state: State
    spec: RunSpec | None
    note: str = ""


class RunStore:
    """A folder of runs.

    Published runs lie in ``<root>/<run_id>``; runs in progress in ``<root>/.work/<run_id>``.

    Args:
        root: the folder; created when something is first written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def published(self, run_id: str) -> Path:
        return self.root / run_id

    def work(self, run_id: str) -> Path:
        return self.root / WORK / run_id

    def is_published(self, run_id: str) -> bool:
        return self.published(run_id).is_dir()

    def enrol(self, specs: list[RunSpec]) -> None:
        """Note down the runs that are wanted, so that status and resume know of them.

        Raises:
            StoreError: if the disk refuses.
        """
        with disk_errors(self.root):
            (self.root / LOCKS).mkdir(parents=True, exist_ok=True)
            for spec in specs:
                try:
                    if not self.is_published(spec.run_id):
                        self.work(spec.run_id).mkdir(parents=True, exist_ok=True)
                        write_yaml(self.work(spec.run_id) / "spec.yaml", spec.as_dict())
                except FileNotFoundError:  # another process published it just now, and cleared its work away
                    if not self.is_published(spec.run_id):
                        raise

    def lock(self, run_id: str, *, wait: bool = False) -> FileLock:
        """The lock of a run; only its holder may train or publish it. The system frees it when its holder dies."""
        return FileLock(self.root / LOCKS / f"{run_id}.lock", timeout=-1 if wait else 0)

    def is_locked(self, run_id: str) -> bool:
        if not (self.root / LOCKS / f"{run_id}.lock").exists():
            return False
        try:
            with self.lock(run_id):
                return False
        except Timeout:
            return True
        except OSError as error:  # a store that nobody can write to has nobody at work in it
            if not is_refusal(error):
                raise
            return False

    def publish(self, run_id: str, folder: Path) -> Path:
        """Move a finished folder into place with one rename and drop what was only work."""
        for path in [*folder.rglob("*"), folder]:
            fsync(path)
        folder.rename(self.published(run_id))
        fsync(self.root)
        self.discard_work(run_id)
        return self.published(run_id)

    def progress(self, run_id: str) -> int:
        """A number that changes whenever the run in progress saves a task boundary, or is published."""
        try:
            return (self.work(run_id) / "boundary.pt").stat().st_mtime_ns
        except FileNotFoundError:
            return int(self.is_published(run_id))

    def discard_work(self, run_id: str) -> None:
        shutil.rmtree(self.work(run_id), ignore_errors=True)

    def fail(self, run_id: str, failure: dict[str, Any]) -> None:
        """Mark a run as failed, with the reason and the step."""
        write_json(self.work(run_id) / "failure.json", failure)

    def failure(self, run_id: str) -> dict[str, Any] | None:
        path = self.work(run_id) / "failure.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def clear_failure(self, run_id: str) -> None:
        (self.work(run_id) / "failure.json").unlink(missing_ok=True)

    def standings(self) -> list[Standing]:
        """Every run of the store, published or not, sorted by name.

        Raises:
            StoreError: if there is no such folder.
        """
        if not self.root.is_dir():
            raise StoreError(
                f"expected a folder of runs, found nothing at {self.root}; check the path, or run a protocol first"
            )
        out = [_published_standing(path) for path in self._published_folders()]
        done = {standing.run_id for standing in out}
        work = self.root / WORK
        for path in sorted(work.iterdir()) if work.is_dir() else ():
            if path.name not in done and (path / "spec.yaml").is_file():  # without one it was never enrolled
                out.append(self._work_standing(path))
        return sorted(out, key=lambda standing: standing.run_id)

    def _published_folders(self) -> Iterator[Path]:
        marks = (
            "provenance.json",
            "spec.yaml",
            "facts.nc",
        )  # any of them: a truncated run is still to be named
        return (p for p in sorted(self.root.iterdir()) if any((p / mark).is_file() for mark in marks))

    def _work_standing(self, path: Path) -> Standing:
        try:
            spec = RunSpec.from_dict(read_yaml(path / "spec.yaml"))
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            why = f"spec.yaml cannot be read ({type(error).__name__})"
            what = f"{path}: {why}; delete this folder and run its protocol again"
            return Standing(path.name, State.DAMAGED, None, what)
        failure = self.failure(path.name)
        if self.is_locked(path.name):
            return Standing(path.name, State.RUNNING, spec)
        if failure is not None:
            return Standing(path.name, State.FAILED, spec, str(failure["reason"]))
        if (path / "boundary.pt").exists():
            return Standing(path.name, State.INTERRUPTED, spec, "resumes from its last task boundary")
        return Standing(path.name, State.PENDING, spec)


def read_published(path: Path) -> tuple[RunSpec, dict[str, Any]]:
    """Spec and provenance of a published run, after checking that its files are all there.

    Raises:
        NewerFormat: for a run written by a later clntk.
        DamagedRun: for missing, truncated or unreadable files.
    """
    try:
        provenance = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
        found = int(provenance["format"])
        files = dict(provenance["files"]) if found <= FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"provenance.json cannot be read ({type(error).__name__})") from error
    if found > FORMAT:
        raise NewerFormat(
            f"{path}: this run has format {found}, this clntk reads up to {FORMAT}; update clntk (pip install -U clntk)"
        )
    for name, fact in files.items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != fact["bytes"]:
            what = "is missing" if size is None else f"has {size} bytes, expected {fact['bytes']}"
            raise damaged(path, f"{name} {what}")
    try:
        if sha256(path / "spec.yaml") != files["spec.yaml"]["sha256"]:
            raise ValueError("its checksum differs")
        return RunSpec.from_dict(read_yaml(path / "spec.yaml")), provenance
    except (OSError, TypeError, ValueError, KeyError, yaml.YAMLError) as error:
        raise damaged(path, f"spec.yaml cannot be read ({type(error).__name__})") from error


def damaged(path: Path, what: str) -> DamagedRun:
    return DamagedRun(
        f"{path}: {what}; move this folder away and run its protocol again to compute the run anew"
    )


def _published_standing(path: Path) -> Standing:
    try:
        spec, _ = read_published(path)
    except NewerFormat as error:
        return Standing(path.name, State.NEWER, None, str(error))
    except DamagedRun as error:
        return Standing(path.name, State.DAMAGED, None, str(error))
    return Standing(path.name, State.DONE, spec)
