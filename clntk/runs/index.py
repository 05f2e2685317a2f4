"""What the runs of a store are, noted down, so that a folder of thousands opens at once."""

import json
import os
from pathlib import Path
from typing import Any

from clntk.protocol.spec import RunSpec
from clntk.runs.files import write_atomic
from clntk.runs.published import read_published
from clntk.text_files import read_yaml

INDEX = ".index.json"
VERSION = 1
_SPEC = "spec.yaml"
_PROVENANCE = "provenance.json"


class Index:
    """The specs of a store's runs, and what their folders were when these were read.

    An entry counts as long as spec and provenance are the files that were read and all others have the sizes that they
    were published with; what counts no more is read from the folder again. So the file can be deleted at any time, and
    a damaged one, or one of another version, is as good as none. Numbers are never read from it.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / INDEX
        self._known = _read(self.path)
        self._seen: dict[str, dict[str, Any]] = {}

    def published(self, folder: Path) -> RunSpec:
        """The spec of a published run whose files are all there.

        Raises:
            DamagedRun, NewerFormat: as :func:`clntk.runs.published.read_published` says.
        """
        return self._spec(folder, self._read_published)

    def enrolled(self, folder: Path) -> RunSpec:
        """The spec of a run in progress.

        Raises:
            OSError, ValueError, yaml.YAMLError: if it cannot be read, or is that of another run.
        """
        spec = self._spec(folder, self._read_enrolled)
        if spec.run_id != folder.name:
            raise ValueError(f"it is that of {spec.run_id}")
        return spec

    def save(self) -> None:
        """Note down what was looked at, if that is news; where nobody can write, nothing is."""
        if self._seen == self._known:
            return
        content = {"version": VERSION, "runs": self._seen}
        try:
            write_atomic(self.path, json.dumps(content).encode())
        except OSError:
            return

    def _spec(self, folder: Path, read: Any) -> RunSpec:
        key = f"{folder.parent.name}/{folder.name}" if folder.parent.name == ".work" else folder.name
        entry = self._known.get(key)
        if entry is not None and _still(entry, str(folder)):
            try:
                spec = RunSpec.from_dict(entry["spec"])
                self._seen[key] = entry
                return spec
            except ValueError:
                pass
        stamps = {name: _stamp(f"{folder}/{name}") for name in (_SPEC, _PROVENANCE)}
        spec, files = read(folder)
        self._seen[key] = {"stamps": stamps, "files": files, "spec": spec.as_dict()}
        return spec

    @staticmethod
    def _read_published(folder: Path) -> tuple[RunSpec, dict[str, int]]:
        spec, provenance = read_published(folder)
        return spec, {name: fact["bytes"] for name, fact in provenance["files"].items()}

    @staticmethod
    def _read_enrolled(folder: Path) -> tuple[RunSpec, dict[str, int]]:
        return RunSpec.from_dict(read_yaml(folder / _SPEC)), {}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
        return dict(content["runs"]) if content["version"] == VERSION else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _still(entry: Any, folder: str) -> bool:
    """Whether a folder is what it was when its entry was made."""
    try:
        return all(_stamp(f"{folder}/{name}") == stamp for name, stamp in entry["stamps"].items()) and all(
            os.stat(f"{folder}/{name}").st_size == size  # noqa: PTH116  (a hundred thousand times, pathlib is slow)
            for name, size in entry["files"].items()
        )
    except (OSError, KeyError, TypeError, AttributeError, ValueError):
        return False


def _stamp(path: str) -> list[int] | None:
    """Size, time of change and number of a file; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]
