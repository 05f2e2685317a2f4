"""The run store: one folder a run, published whole by one rename, never edited afterwards."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from clntk.errors import DamagedRun, NewerFormat, StoreError
from clntk.protocol.spec import RunSpec
from clntk.runs.files import disk_errors, fsync, is_refusal, write_json, write_yaml
from clntk.runs.index import Index
from clntk.text_files import read_json

WORK = ".work"
LOCKS = ".locks"
MARKS = ("provenance.json", "spec.yaml", "facts.nc")


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
        """The failure that a run is marked with; one that cannot be read is none, and the run is tried again."""
        path = self.work(run_id) / "failure.json"
        try:
            found = read_json(path)
            return {**found, "reason": str(found["reason"]), "repeatable": bool(found.get("repeatable"))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

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
        index = Index(self.root)
        out = [_published_standing(path, index) for path in self._published_folders()]
        done = {standing.run_id for standing in out}
        work = self.root / WORK
        for path in sorted(work.iterdir()) if work.is_dir() else ():
            if path.name not in done and (path / "spec.yaml").is_file():  # without one it was never enrolled
                out.append(self._work_standing(path, index))
        index.save()
        return sorted(out, key=lambda standing: standing.run_id)

    def _published_folders(self) -> Iterator[Path]:
        """Folders with any of the files that runs have: one that lost some is still to be named."""
        for path in sorted(self.root.iterdir()):
            if not path.name.startswith(".") and any((path / mark).is_file() for mark in MARKS):
                yield path

    def _work_standing(self, path: Path, index: Index) -> Standing:
        try:
            spec = index.enrolled(path)
        except (OSError, ValueError, yaml.YAMLError) as error:
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


def _published_standing(path: Path, index: Index) -> Standing:
    try:
        spec = index.published(path)
    except NewerFormat as error:
        return Standing(path.name, State.NEWER, None, str(error))
    except DamagedRun as error:
        return Standing(path.name, State.DAMAGED, None, str(error))
    return Standing(path.name, State.DONE, spec)
