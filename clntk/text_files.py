"""Text files from and for strangers: YAML and JSON of plain values within limits, CSV without formulas."""

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from clntk import limits

if TYPE_CHECKING:
    import pandas as pd

# the C library's, where PyYAML was built with it: ten times faster
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_OPENING = yaml.MappingStartEvent | yaml.SequenceStartEvent
_CLOSING = yaml.MappingEndEvent | yaml.SequenceEndEvent


def read_text(path: Path) -> str:
    """The text of a regular file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is something else than a file (a pipe would wait for ever), too long, or no UTF-8.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  (a pipe must not block)
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path.name}: expected a file, found something else")
        if found.st_size > limits.TEXT:
            raise ValueError(f"{path.name}: expected at most {limits.TEXT} bytes, found {found.st_size}")
        return file.read().decode("utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, or beyond the limits.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError(f"{path.name}: nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, by the safe loader: plain values, nothing that could execute.

    Raises:
        OSError: if it cannot be read.
        ValueError, yaml.YAMLError: if it is no YAML, names objects, or is beyond the limits.
    """
    text = read_text(path)
    refuse_bomb(text)
    return yaml.load(text, Loader=LOADER)


def csv_text(table: "pd.DataFrame") -> str:
    """A table as CSV, in which no text is a formula for a spreadsheet: those that would be begin with an apostrophe."""
    return table.map(lambda cell: f"'{cell}" if _is_formula(cell) else cell).to_csv(index=False)


def _is_formula(cell: Any) -> bool:
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def refuse_bomb(text: str) -> None:
    """Check how much a YAML text holds once its aliases are written out, without writing them out.

    Raises:
        ValueError: beyond the limits, or for an alias inside of what it stands for.
        yaml.YAMLError: if it is no YAML.
    """
    sizes: dict[str, tuple[int, int]] = {}  # anchor → values, depth of what it names
    open_nodes: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    found: tuple[int, int] | None
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, _OPENING):
            open_nodes.append((event.anchor, 1, 1))
            found = None
        elif isinstance(event, _CLOSING):
            anchor, count, depth = open_nodes.pop()
            found = (count, depth)
            if anchor:
                sizes[anchor] = found
        elif isinstance(event, yaml.ScalarEvent):
            found = (1, 1)
            if event.anchor:
                sizes[event.anchor] = found
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"the alias *{event.anchor} stands inside of what it names, or for nothing")
            found = sizes[event.anchor]
        else:
            found = None
        if found is not None:
            anchor, count, depth = open_nodes[-1]
            open_nodes[-1] = (anchor, count + found[0], max(depth, found[1] + 1))
        if open_nodes[-1][1] > limits.NODES:
            raise ValueError(f"expected at most {limits.NODES} values, found more (aliases written out)")
        if len(open_nodes) + open_nodes[-1][2] > limits.DEPTH:
            raise ValueError(f"expected at most {limits.DEPTH} levels, found more")
