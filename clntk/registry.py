"""Named components: a protocol is data, and the code it names lives here.

Adding one is one decorated function in one file. Its positional parameters are what the toolkit hands it; its
keyword-only parameters, with their annotations and defaults, *are* its configuration schema.
"""

import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from clntk.collector import collector_at_rest
from clntk.component import KINDS, Entry
from clntk.errors import ClntkError, UnknownName, did_you_mean
from clntk.python_files import load_file

ENTRY_POINT_GROUP = "clntk.components"

_entries: dict[tuple[str, str], Entry] = {}
_discovered: set[str] = set()


def register(kind: str, name: str | None = None, **traits: Any) -> Callable[[Callable], Callable]:
    """Register the decorated function as a component.

    Args:
        kind: one of :data:`KINDS`.
        name: the name protocols use; by default the function's own.
        traits: facts about the component that its kind knows how to use.

    Raises:
        UnknownName: if there is no such kind.
        ClntkError: if the name is taken by another file, an option's name by its kind, or the docstring or an
            option's annotation is missing.
    """
    _check_kind(kind)

    def decorate(function: Callable) -> Callable:
        entry = Entry(kind, name or function.__name__, function, traits)
        if not entry.summary:
            raise ClntkError(
                f"{kind} {entry.name!r} in {entry.source}: needs a docstring; its first line is shown to users"
            )
        for parameter in entry.parameters:
            if (
                parameter.kind is inspect.Parameter.KEYWORD_ONLY
                and parameter.annotation is inspect.Parameter.empty
            ):
                raise ClntkError(
                    f"{kind} {entry.name!r} in {entry.source}: option {parameter.name!r} needs an annotation; "
                    "the signature is its configuration schema"
                )
        _refuse_taken_options(entry)
        if not function.__module__.startswith("clntk."):
            _discover(kind)  # so that it is the newcomer that finds a name taken
        taken = _entries.get((kind, entry.name))
        if taken is not None and taken.source != entry.source:
            raise ClntkError(
                f"{kind} {entry.name!r} in {entry.source}: the name is taken by {taken.source}; choose another name"
            )
        _entries[kind, entry.name] = entry
        return function

    return decorate


def names(kind: str) -> list[str]:
    """The registered names of a kind, sorted."""
    _check_kind(kind)
    _discover(kind)
    return sorted(name for entry_kind, name in _entries if entry_kind == kind)


def get(kind: str, name: str) -> Entry:
    """The component of that kind and name.

    Raises:
        UnknownName: with the nearest legal name and all known ones.
    """
    known = names(kind)
    try:
        return _entries[kind, name]
    except KeyError:
        hint = did_you_mean(name, known)
        raise UnknownName(
            f"no {kind} is called {name!r}; {hint + ' ' if hint else ''}known: {', '.join(known)}"
        ) from None


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownName(
            f"no kind is called {kind!r}; {did_you_mean(kind, KINDS)} known: {', '.join(KINDS)}"
        )


def _discover(kind: str) -> None:
    """Import the modules that register the built-in and installed members of a kind."""
    with _once(kind) as due:
        if due:
            with collector_at_rest():
                _import_members(KINDS[kind].package)
                _load_entry_points()


@contextmanager
def _once(what: str) -> Iterator[bool]:
    """Whether ``what`` is still to be done; it counts as done from now on, unless it fails."""
    due = what not in _discovered
    _discovered.add(what)
    try:
        yield due
    except BaseException:
        if due:
            _discovered.discard(what)
        raise


def _import_members(package: str) -> None:
    if package.startswith("shipped:"):
        from clntk.shipped import folder

        for file in sorted(folder(package.removeprefix("shipped:")).glob("[!_]*.py")):
            load_file(file, f"clntk_shipped_{file.stem}")
    else:
        home = importlib.import_module(package)
        for module in pkgutil.iter_modules(getattr(home, "__path__", ()), f"{package}."):
            importlib.import_module(module.name)


def _load_entry_points() -> None:
    with _once("entry points") as due:
        for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP) if due else ():
            try:
                point.load()
            except Exception as error:
                raise ClntkError(
                    f"plug-in {point.name!r} ({point.value}): failed while it was loaded: {error}; "
                    "mend or uninstall the package that offers it"
                ) from error


def _refuse_taken_options(entry: Entry) -> None:
    """An option of one's own that the kind has already would never reach the function."""
    common = {f.name for kind in (entry.shared, entry.applied) if kind is not None for f in fields(kind)}
    for parameter in entry.parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name in common:
            raise ClntkError(
                f"{entry.kind} {entry.name!r} in {entry.source}: every {entry.kind} has an option "
                f"{parameter.name!r} already, which is not the function's own; leave it out or rename it"
            )
