"""Files that are whole or absent, and errors of the disk as sentences."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from clntk.errors import StoreError

# the C library's, where PyYAML was built with it: ten times faster
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_WHY: dict[int | None, str] = {  # an OSError may be without a number
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "part of the path is a file",
    errno.EEXIST: "a file is in the way",
}


def is_refusal(error: BaseException, root: Path | None = None) -> bool:
    """Whether the disk refused a write, as opposed to a file that is not there.

    With ``root``, errors that name a file outside it (a user's data, say) do not count.
    """
    if not isinstance(error, OSError) or error.errno not in _WHY:
        return False
    return (
        root is None
        or error.filename is None
        or Path(os.fsdecode(error.filename)).resolve().is_relative_to(root)
    )


@contextmanager
def disk_errors(path: Path, *, what: str = "the store", option: str = "--store") -> Iterator[None]:
    """Turn the operating system's refusals into a StoreError that says what to do.

    Args:
        path: the folder written to.
        what: what is written there, for the message.
        option: of the command line, with which another folder is chosen.
    """
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise
        raise StoreError(
            f"cannot write to {what} {path}: {_WHY[error.errno]}; nothing published was touched. "
            f"Choose another folder with {option}, or make room, and run the same command again"
        ) from error


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is either the old one or all of the new one, even if power fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def write_yaml(path: Path, value: Any) -> None:
    text = yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    write_atomic(path, text.encode())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
