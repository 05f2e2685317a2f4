"""From a name or path and dotted overrides to a checked protocol."""

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clntk import python_files
from clntk.errors import ClntkError, Problem, ProtocolError, UnknownName, did_you_mean
from clntk.protocol.model import Protocol, normalised, problems_of
from clntk.protocol.references import refuse_calls
from clntk.protocol.sweep import cells, points
from clntk.shipped import folder
from clntk.text_files import read_text, refuse_bomb

ENTRY_POINT_GROUP = "clntk.protocols"
# what the libraries raise for texts that are none: of numbers beyond theirs, dates that are not, keys of other types
NOT_YAML = (
    yaml.YAMLError,
    OmegaConfBaseException,
    OSError,
    ValueError,
    TypeError,
    RecursionError,
    OverflowError,
)


def load(
    protocol: str | Path | Mapping[str, Any], overrides: Iterable[str] = (), *, quick: bool = False
) -> Protocol:
    """The protocol of that name or path, with ``key=value`` overrides applied and everything checked.

    A mapping is a protocol written out, with its ``name``; files that it uses are relative to the working directory.

    With ``quick``, as its quick version: with the overrides that it lists for that, before one's own, and published
    results held against by their quick bounds, however few seeds there are.

    Raises:
        UnknownName: if no such protocol exists.
        ProtocolError: with every problem at once.
    """
    if isinstance(protocol, Mapping):
        where, beside = "(protocol)", Path.cwd()
        raw = _merged(dict(protocol), where, list(overrides), quick=quick)
    else:
        path = find(protocol)
        where, beside = str(path), path.parent
        raw = {"name": path.stem} | _merged(_read(path), where, list(overrides), quick=quick)
    raw = normalised(raw)
    raw["use"] = _load_used(beside, where, raw.get("use", []))
    problems = problems_of(raw)
    if isinstance(raw.get("sweep"), Mapping) and all(isinstance(v, list) for v in raw["sweep"].values()):
        problems += _sweep_problems(raw, problems)
    if problems:
        raise ProtocolError(where, problems)
    checked = Protocol.model_validate(raw)
    return _quick(checked) if quick else checked


def _quick(protocol: Protocol) -> Protocol:
    claims = [
        claim.model_copy(update={"within": claim.quick or claim.within, "seeds": 1})
        for claim in protocol.published
    ]
    return protocol.model_copy(update={"published": claims})


def find(protocol: str | Path) -> Path:
    """The file of a protocol: a path, or a name in ./protocols, the shipped ones, or an installed package.

    Raises:
        UnknownName: with the nearest name and the known ones.
    """
    given = Path(protocol)
    if given.suffix in {".yaml", ".yml"}:
        if given.is_file():
            return given.resolve()
        raise UnknownName(
            f"expected a protocol file, found nothing at {given}; `clntk list protocol` names the shipped ones"
        )
    known = available()
    if str(protocol) in known:
        return known[str(protocol)]
    hint = did_you_mean(str(protocol), known)
    raise UnknownName(
        f"no protocol is called {str(protocol)!r}; {hint + ' ' if hint else ''}known: {', '.join(known)}; "
        "or give the path of a .yaml file"
    )


def available() -> dict[str, Path]:
    """Protocol names and their files, also of folders inside; a nearer place hides a farther one."""
    places = [Path("protocols").resolve(), folder("protocols")]
    places += [Path(str(files(point.value))) for point in entry_points(group=ENTRY_POINT_GROUP)]
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.rglob("*.yaml"), key=lambda path: (len(path.parts), path)):
            found.setdefault(path.stem, path)
    return found


def replications() -> list[str]:
    """The names of the shipped protocols that are there to be held against published results."""
    return sorted(path.stem for path in folder("protocols").glob("replications/*.yaml"))


def written_out(given: Iterable[str], where: str) -> dict[str, Any]:
    """``key=value`` strings with dotted keys as a nested mapping, values read as YAML.

    Raises:
        ProtocolError: for a string without ``=``, or a value that is not YAML; ``where`` says what has it.
    """
    given = list(given)
    wrong = [
        Problem(each, "key=value", repr(each), "for example seeds=5") for each in given if "=" not in each
    ]
    if wrong:
        raise ProtocolError(where, wrong)
    try:
        return _plain(OmegaConf.from_dotlist(given))
    except NOT_YAML as error:
        raise ProtocolError(where, [_not_yaml("(options)", error)]) from error


def with_options(raw: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a raw protocol with dotted keys set, such as ``model.width`` or ``probes.0.n``; what is on the way
    and not there is made.

    Raises:
        ValueError: for a key that leads into a plain value, or beyond the end of a list.
    """
    out: Any = dict(raw)
    for key, value in options.items():
        out = _with(out, key.split("."), value)
    return out


def _with(node: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    head, *rest = path
    if node is None or isinstance(node, Mapping):
        inside = dict(node or {})
        return inside | {head: _with(inside.get(head), rest, value)}
    if isinstance(node, list) and head.isdecimal() and int(head) < len(node):
        i = int(head)
        return [*node[:i], _with(node[i], rest, value), *node[i + 1 :]]
    raise ValueError(f"{head!r} is sought in {node!r}")


def _read(path: Path) -> dict[str, Any]:
    """What the file says, as it stands there."""
    try:
        text = read_text(path)
        refuse_bomb(text)
        config = OmegaConf.load(StringIO(text))
    except NOT_YAML as error:
        raise ProtocolError(str(path), [_not_yaml("(file)", error)]) from error
    if not OmegaConf.is_dict(config):
        raise ProtocolError(str(path), [Problem("(file)", "a mapping of keys", type(config).__name__)])
    return _plain(config)


def _merged(raw: dict[str, Any], where: str, overrides: list[str], *, quick: bool = False) -> dict[str, Any]:
    """The protocol with its overrides, all that it refers to written out."""
    try:
        # bare names are written out first, so that model.width=64 can reach into model: mlp
        config = OmegaConf.create(normalised(raw))
        of_quick = list(config.get("quick") or []) if quick else []
        merged = OmegaConf.merge(config, written_out([*of_quick, *overrides], where))
        refuse_calls(_plain(merged))
        return _plain(merged, resolve=True)
    except NOT_YAML as error:
        raise ProtocolError(where, [_not_yaml("(file)", error)]) from error


def _plain(config: Any, *, resolve: bool = False) -> dict[str, Any]:
    """OmegaConf's mapping as Python's."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=resolve))


def _not_yaml(where: str, error: Exception) -> Problem:
    return Problem(where, "YAML", " ".join(str(error).split()))


def _load_used(beside: Path, where: str, use: Any) -> Any:
    """Load the user's components, paths relative to a folder; leave what is not a list to the checks."""
    if not isinstance(use, list) or not all(isinstance(item, str) for item in use):
        return use
    used: list[str] = []
    for i, item in enumerate(use):
        try:
            used.append(str(python_files.use(beside / item)))
            if Path(used[-1]).name in {Path(other).name for other in used[:-1]}:
                raise ClntkError(
                    f"a second file called {Path(used[-1]).name}; run identities know files by name: rename it"
                )
        except ClntkError as error:
            raise ProtocolError(
                where, [Problem(f"use.{i}", "a file of components that loads", str(error))]
            ) from error
    return used


def _sweep_problems(raw: Mapping[str, Any], known: list[Problem]) -> list[Problem]:
    """What is wrong with swept values beyond the known problems: each value in its place, then all combinations."""
    sweep: dict[str, list[Any]] = raw["sweep"]
    if any(problem.path == "sweep" for problem in known):
        return []  # not a grid
    singly = [cell for key, values in sweep.items() for cell in points(key, values)]
    problems = [problem for cell in singly for problem in _cell_problems(raw, cell, known)]
    if not problems and len(sweep) > 1:
        problems = [problem for cell in cells(sweep) for problem in _cell_problems(raw, cell, known)]
    return problems


def _cell_problems(raw: Mapping[str, Any], cell: Mapping[str, Any], known: list[Problem]) -> list[Problem]:
    where = "sweep." + (next(iter(cell)) if len(cell) == 1 else ",".join(f"{k}={v}" for k, v in cell.items()))
    try:
        point = normalised(with_options({**raw, "sweep": {}}, cell))
    except ValueError as error:
        return [Problem(where, "a dotted key of this protocol", str(error))]
    found = [p for p in problems_of(point) if p not in known]
    return [Problem(f"{where}: {p.path}", p.expected, p.found, p.hint) for p in found]
