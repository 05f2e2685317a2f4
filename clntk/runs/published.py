"""A published run on disk, checked."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from clntk.errors import ClntkError, DamagedRun, NewerFormat
from clntk.protocol.spec import FORMAT, RunSpec
from clntk.runs.files import sha256
from clntk.text_files import read_json, read_yaml


def _inside(name: str) -> str:
    """A file's name within the run's folder, and nowhere else."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or not name.isprintable():
        raise ValueError("expected the path of a file within the folder")
    return name


class _File(BaseModel):
    model_config = ConfigDict(strict=True)

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Provenance(BaseModel):
    """What is needed of it; the rest is for people."""

    model_config = ConfigDict(strict=True)

    clntk: str
    device: str
    finished: str
    seconds: float
    steps: int
    files: dict[Annotated[str, AfterValidator(_inside)], _File]


def read_published(path: Path) -> tuple[RunSpec, dict[str, Any]]:
    """Spec and provenance of a published run, after checking that its files are all there.

    Raises:
        NewerFormat: for a run written by a later clntk.
        DamagedRun: for missing, truncated or unreadable files, links, and names that lead out of the folder.
    """
    try:
        provenance = read_json(path / "provenance.json")
        found = provenance["format"]
        if not isinstance(found, int):
            raise ValueError("its format is no number")
        files = _Provenance.model_validate(provenance).files if found <= FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"provenance.json cannot be read ({type(error).__name__})") from error
    if found > FORMAT:
        raise NewerFormat(
            f"{path}: this run has format {found}, this clntk reads up to {FORMAT}; update clntk (pip install -U clntk)"
        )
    for name, fact in files.items():
        size = regular_size(path, name)
        if size != fact.bytes:
            what = "is missing" if size is None else f"has {size} bytes, expected {fact.bytes}"
            raise damaged(path, f"{name} {what}")
    try:
        if sha256(path / "spec.yaml") != files["spec.yaml"].sha256:
            raise ValueError("its checksum differs")
        return RunSpec.from_dict(read_yaml(path / "spec.yaml")), provenance
    except (OSError, TypeError, ValueError, KeyError, yaml.YAMLError) as error:
        raise damaged(path, f"spec.yaml cannot be read ({type(error).__name__})") from error


def regular_size(folder: Path, name: str) -> int | None:
    """The bytes of a file in a folder; None where there is none, or a link, or something that is no file."""
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        try:
            found = path.lstat()
        except OSError:
            return None
        if stat.S_ISLNK(found.st_mode):
            return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def reading(path: Path, name: str) -> Iterator[None]:
    """Whatever a library says of a file that is not what clntk writes, it says that the run is damaged.

    Raises:
        DamagedRun: naming the file; errors of clntk's own pass.
    """
    try:
        yield
    except ClntkError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())
        raise damaged(path, f"{name} cannot be read ({type(error).__name__}: {why[:200]})") from error


def damaged(path: Path, what: str) -> DamagedRun:
    return DamagedRun(
        f"{path}: {what}; move this folder away and run its protocol again to compute the run anew"
    )
