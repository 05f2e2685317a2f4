"""Named components: a protocol is data, and the code it names lives here.

Adding one is one decorated function in one file. Its positional parameters are what the toolkit hands it; its
keyword-only parameters, with their annotations and defaults, *are* its configuration schema.
"""

import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from clntk.collector import collector_at_rest
from clntk.errors import ClntkError, OptionError, UnknownName, did_you_mean
from clntk.problems import from_pydantic

if TYPE_CHECKING:
    from pydantic import BaseModel

ENTRY_POINT_GROUP = "clntk.components"
_USED = "clntk_used_"  # how modules of users' files are called


@dataclass(frozen=True)
class Kind:
    """A sort of component: where the built-in ones live, and what it shares.

    Args:
        package: the package or shipped folder whose modules register the built-in members.
        meaning: one line for ``clntk list``.
        shared: ``"module:Dataclass"`` whose fields belong to the configuration of every member; an instance is
            handed over after the other positional arguments.
        applied: ``"module:Dataclass"`` whose fields belong to the configuration of every member, too; an instance is
            called with what the member returns and what it was handed, and its answer is the result. So whatever
            the option does is done to every member, a user's own among them.
    """

    package: str
    meaning: str
    shared: str | None = None
    applied: str | None = None


KINDS: dict[str, Kind] = {
    "stream": Kind(
        "clntk.streams",
        "the tasks, in order, with their probe sets",
        applied="clntk.streams.presentation:Presentation",
    ),
    "model": Kind("clntk.models", "the network"),
    "regime": Kind("clntk.regimes", "initialisation, parametrisation, output scale and learning rate"),
    "strategy": Kind("clntk.strategies", "how the network is trained", "clntk.strategies.training:Training"),
    "probe": Kind("clntk.capture.probes", "a fact recorded at every checkpoint"),
    "measure": Kind("clntk.measures", "a pure function of recorded facts"),
    "finding": Kind(
        "clntk.stats.findings", "one number a seed, which a published result can be held against"
    ),
    "analysis": Kind("shipped:analyses", "one question asked of saved runs: figure, table and text"),
    "engine": Kind("clntk.engines", "where runs execute"),
}


@dataclass(frozen=True)
class Entry:
    """One registered component."""

    kind: str
    name: str
    function: Callable[..., Any]
    traits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def reference(self) -> str:
        """What the docstring names as the component's source, in one line."""
        _, _, said = (inspect.getdoc(self.function) or "").partition("\nSource:")
        return re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(said.partition("\n\n")[0].split()))

    @property
    def source(self) -> Path:
        """The file that the function was written in."""
        return Path(inspect.getsourcefile(inspect.unwrap(self.function)) or "").resolve()

    @cached_property
    def parameters(self) -> tuple[inspect.Parameter, ...]:
        """The function's parameters, annotations as written."""
        return tuple(inspect.signature(self.function).parameters.values())

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the positional parameters: what the toolkit hands over."""
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return tuple(p.name for p in self.parameters if p.kind in positional)

    @cached_property
    def own_options(self) -> tuple[inspect.Parameter, ...]:
        """The keyword-only parameters, annotations evaluated: the function's own configuration.

        The others' are left alone: they may name types that are imported for type checkers only.
        """
        options = [p for p in self.parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        annotated = SimpleNamespace(__annotations__={p.name: p.annotation for p in options})
        names_known = inspect.unwrap(self.function).__globals__
        hints = get_type_hints(annotated, globalns=names_known, include_extras=True)
        return tuple(p.replace(annotation=hints[p.name]) for p in options)

    @cached_property
    def shared(self) -> type | None:
        """The dataclass of options that every member of this kind is handed, if there is one."""
        return _named(KINDS[self.kind].shared)

    @cached_property
    def applied(self) -> type | None:
        """The dataclass of options that are applied to what any member of this kind returns, if there is one."""
        return _named(KINDS[self.kind].applied)

    @cached_property
    def schema(self) -> "type[BaseModel]":
        """The configuration as a pydantic model: unknown keys are forbidden, ``"3"`` and ``true`` are no numbers."""
        from pydantic import ConfigDict, create_model

        options: dict[str, Any] = {}
        if self.shared is not None:
            options |= _dataclass_options(self.shared)
        for parameter in self.own_options:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            options[parameter.name] = (parameter.annotation, default)
        if self.applied is not None:
            options |= _dataclass_options(self.applied)
        config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        return create_model(self.name, __config__=config, __doc__=self.summary, **options)

    def check(self, options: Mapping[str, Any]) -> "BaseModel":
        """The options as a checked instance of the schema.

        They are read as JSON values are: strings become paths where a path is due, but nothing becomes a number.

        Raises:
            pydantic.ValidationError: with every problem at once.
        """
        from pydantic_core import to_json

        return self.schema.model_validate_json(to_json(dict(options), inf_nan_mode="constants"))

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in, as plain serialisable values."""
        return self.check(options).model_dump(mode="json")

    def __call__(self, *injected: Any, **options: Any) -> Any:
        """Call the component with what the toolkit hands over, then its configuration.

        Raises:
            OptionError: for options that it has not, or values that they cannot have.
        """
        checked = self._checked(options)
        shared, applied = (
            None if kind is None else kind(**{f.name: checked.pop(f.name) for f in fields(kind)})
            for kind in (self.shared, self.applied)
        )
        handed = injected if shared is None else (*injected, shared)
        result = self.function(*handed, **checked)
        return result if applied is None else applied(result, *injected)

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        from pydantic import ValidationError

        try:
            return dict(self.check(options))
        except ValidationError as error:
            raise OptionError(
                f"{self.kind} {self.name}", from_pydantic(error, "", list(self.schema.model_fields), options)
            ) from None


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


def use(path: str | Path) -> Path:
    """Load a user's own file of components, once per content.

    Raises:
        ClntkError: if the file is missing or fails while it is loaded.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ClntkError(f"use: expected a Python file of components, found nothing at {path}")
    load_file(path, _module_name(path))
    return path


def used_module(path: Path) -> ModuleType | None:
    """What :func:`use` made of a file with the content that it has now; None if nobody has named it."""
    return sys.modules.get(_module_name(path.resolve()))


def _module_name(path: Path) -> str:
    content = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()
    return f"{_USED}{path.stem}_{content[:16]}"


def used() -> list[Path]:
    """The files of components that were loaded with :func:`use`, in order."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_USED)]
    return [Path(module.__file__) for module in modules if module.__file__ is not None]


class _Source(importlib.machinery.SourceFileLoader):
    """Runs a file as it is now: Python would take what it compiled of one as long in the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_file(path: Path, module_name: str) -> ModuleType:
    """Import a file under a name of our choosing, or return it if it is already imported."""
    if module_name in sys.modules:
        return sys.modules[module_name]
    if path.suffix != ".py":
        raise ClntkError(f"{path}: expected a Python file, with a name that ends in .py, found another kind")
    loader = _Source(module_name, str(path))
    spec = importlib.util.spec_from_loader(module_name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        loader.exec_module(module)
    except ClntkError:
        del sys.modules[module_name]
        raise
    except Exception as error:
        del sys.modules[module_name]
        raise ClntkError(f"{path}: failed while it was loaded: {type(error).__name__}: {error}") from error
    return module


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


def _named(path: str | None) -> Any:
    """What ``"module:attribute"`` names."""
    if path is None:
        return None
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _dataclass_options(kind: type) -> dict[str, tuple[Any, Any]]:
    """Annotation and default (``...`` for none) of each field."""
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: (hints[f.name], ... if f.default is MISSING else f.default) for f in fields(kind)}
