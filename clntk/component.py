"""Components: the kinds that there are, and what a registered function says of itself."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from clntk.errors import OptionError
from clntk.problems import from_pydantic

if TYPE_CHECKING:
    from pydantic import BaseModel


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
