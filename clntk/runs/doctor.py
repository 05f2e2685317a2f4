"""A store looked through: what is wrong with it, and what can be put right."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from clntk.errors import ClntkError, DamagedRun, NewerFormat, StoreError
from clntk.protocol.spec import RunSpec
from clntk.runs.boundary import load_state
from clntk.runs.files import disk_errors, sha256
from clntk.runs.index import INDEX
from clntk.runs.published import read_published
from clntk.runs.store import LOCKS, WORK, RunStore
from clntk.text_files import read_yaml

ASIDE = ".damaged"
RESULTS = "results"  # what analyses write beside the runs
_PARTIAL = ".*.tmp"  # of a process that was killed while it wrote


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a store.

    Args:
        path: the run or file, within the store.
        what: what is wrong.
        remedy: what :func:`repair` does about it, or what to do.
        damaged: whether numbers are lost with it; leftovers are not damage.
    """

    path: str
    what: str
    remedy: str
    damaged: bool


def examine(root: str | Path) -> Iterator[Finding]:
    """Check every file of every run against what was published, and find what does not belong.

    Raises:
        StoreError: if there is no such folder.
    """
    store = RunStore(root)
    if not store.root.is_dir():
        raise StoreError(
            f"expected a folder of runs, found nothing at {store.root}; check the path, or run a protocol first"
        )
    for path in sorted(store.root.iterdir()):
        if path.name in {WORK, LOCKS, INDEX, ASIDE, RESULTS}:
            continue
        if path.is_dir() and not path.name.startswith("."):
            yield from _published(path)
        elif path.is_file() and path.match(_PARTIAL):
            yield Finding(path.name, "half-written by a process that ended", "remove it", damaged=False)
    for path in sorted((store.root / WORK).glob("*")):
        yield from _in_progress(store, path)


def repair(root: str | Path) -> list[Finding]:
    """Put right what :func:`examine` finds: damaged runs are moved aside and enrolled anew, leftovers removed.

    Nothing that holds numbers is deleted: damaged runs go to ``.damaged`` within the store. Afterwards ``clntk resume``
    computes them again.

    Returns:
        What was found.

    Raises:
        StoreError: if there is no such folder, or the disk refuses.
    """
    store = RunStore(root)
    found = list(examine(root))
    with disk_errors(store.root):
        for path in dict.fromkeys(finding.path for finding in found):
            if store.is_locked(Path(path).name):
                continue  # a process is at work on it
            _put_right(store, store.root / path, damaged=any(f.damaged for f in found if f.path == path))
        (store.root / INDEX).unlink(missing_ok=True)
        store.standings()
    return found


def _put_right(store: RunStore, path: Path, *, damaged: bool) -> None:
    if not damaged:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        return
    spec = _spec(path)
    aside = store.root / ASIDE
    aside.mkdir(exist_ok=True)
    number = next(
        n for n in range(len(list(aside.iterdir())) + 1) if not (aside / f"{path.name}-{n}").exists()
    )
    path.rename(aside / f"{path.name}-{number}")
    if spec is not None and spec.run_id == path.name:
        store.enrol([spec])


def _published(path: Path) -> Iterator[Finding]:
    """What is wrong with a published run."""
    again = "move it aside and enrol it anew; clntk resume computes it"
    try:
        spec, provenance = read_published(path)
    except NewerFormat as error:
        yield Finding(path.name, str(error), "update clntk", damaged=False)
        return
    except DamagedRun as error:
        said = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        yield Finding(path.name, said, again, damaged=True)
        return
    if spec.run_id != path.name:
        yield Finding(path.name, f"its spec is that of {spec.run_id}", again, damaged=True)
    for name, facts in provenance["files"].items():
        if sha256(path / name) != facts["sha256"]:
            yield Finding(
                path.name, f"{name} is not what was published (its checksum differs)", again, damaged=True
            )
    known = {*provenance["files"], "provenance.json"}
    others = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_symlink() or not p.is_dir())
    for name in others:
        if name not in known:
            what = "a link" if (path / name).is_symlink() else "a file"
            yield Finding(path.name, f"{name} is {what} that was not published with it", again, damaged=True)


def _in_progress(store: RunStore, path: Path) -> Iterator[Finding]:
    """What is wrong with the folder of a run in progress."""
    name = f"{WORK}/{path.name}"
    if store.is_locked(path.name):
        return
    if store.is_published(path.name):
        yield Finding(name, "left over from a run that is done", "remove it", damaged=False)
        return
    if _spec(path) is None:
        if not any(path.rglob("boundary.pt")):
            yield Finding(name, "holds neither a spec nor a task boundary", "remove it", damaged=False)
            return
        yield Finding(name, "spec.yaml cannot be read", "move it aside; run its protocol again", damaged=True)
        return
    try:
        if (path / "boundary.pt").exists():
            load_state(path / "boundary.pt", path)
    except ClntkError:
        yield Finding(
            name, "boundary.pt cannot be read", "move it aside and start the run anew", damaged=True
        )
    for partial in sorted(path.rglob(_PARTIAL)):
        where = str(partial.relative_to(store.root))
        yield Finding(where, "half-written by a process that ended", "remove it", damaged=False)


def _spec(path: Path) -> RunSpec | None:
    """The spec of a folder, from its own file or the facts' provenance."""
    try:
        return RunSpec.from_dict(read_yaml(path / "spec.yaml"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
