"""A published run on disk, checked."""

import json
from pathlib import Path
from typing import Any

import yaml

from clntk.errors import DamagedRun, NewerFormat
from clntk.protocol.spec import FORMAT, RunSpec
from clntk.runs.files import read_yaml, sha256


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
