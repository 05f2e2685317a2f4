"""Starters: a component of one's own, commented, with a test that passes."""

import re
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from string import Template

from clntk import registry
from clntk.errors import ClntkError, UnknownName, did_you_mean
from clntk.protocol.load import available

KINDS = ("protocol", "measure", "stream")


def start(kind: str, name: str, folder: str | Path = ".") -> tuple[Path, Path]:
    """Write a commented starter and its test, to be changed into what one wants.

    Args:
        kind: one of :data:`KINDS`.
        name: of the component and its file; a Python identifier.
        folder: where to; made if need be.

    Returns:
        the paths of the component and of its test.

    Raises:
        UnknownName: for another kind.
        ClntkError: for a name that is no identifier or is taken, or a file that is there: nothing is overwritten.
    """
    if kind not in KINDS:
        raise UnknownName(
            f"expected one of {', '.join(KINDS)}, found {kind!r}; {did_you_mean(kind, KINDS) or 'choose one of them'}"
        )
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name) or iskeyword(name):
        raise ClntkError(
            f"expected a name of lower-case letters, digits and _, such as my_{kind}, found {name!r}"
        )
    if name in (available() if kind == "protocol" else registry.names(kind)):
        raise ClntkError(
            f"a {kind} called {name!r} is there already (clntk list {kind}); choose another name"
        )
    suffix = "yaml" if kind == "protocol" else "py"
    paths = Path(folder) / f"{name}.{suffix}", Path(folder) / f"test_{name}.py"
    for path in paths:
        if path.exists():
            raise ClntkError(f"{path} is there already; choose another name or folder (--out)")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for path, template in zip(paths, (f"{kind}.{suffix}.txt", f"test_{kind}.py.txt"), strict=True):
        text = files("clntk.starters").joinpath(template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(name=name), encoding="utf-8")
    return paths
