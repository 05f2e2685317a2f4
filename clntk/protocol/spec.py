"""A run spec: everything that decides the numbers of one run, and its stable identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter

FORMAT = 1  # of specs and run folders; raised when older clntk could not read them


def _named(component: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(component.get("name"), str):
        raise ValueError("expected the name of a component")
    return component


Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=200)]
Seed = Annotated[int, Field(ge=0, strict=True)]
_Component = Annotated[dict[str, JsonValue], AfterValidator(_named)]


@dataclass(frozen=True)
class RunSpec:
    """One cell of a protocol, fully resolved.

    Args:
        protocol, summary, reference: where it comes from, for people.
        regime: the label of its regime.
        seed: its seed.
        stream, model, strategy, regime_options: component name under ``name``, and all options.
        probes: probe components.
        measures: what the protocol asks of its runs; no part of the identity.
        sweep: swept options of other regimes, at the values that this run is compared with; what the run itself takes
            from a sweep stands among its own options.
        cell: the swept keys and this cell's values as the protocol has them, for people; no part of the identity.
        regimes: all labels of the protocol in order; no part of the identity.
        published: the results that the protocol is held against; no part of the identity.
        code: name → content hash of each user's file, script or notebook cell whose components take part in the run.
        use: where these files were; no part of the identity.
        device: where it runs.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    protocol: Label
    regime: Label
    seed: Seed
    stream: _Component
    model: _Component
    strategy: _Component
    regime_options: _Component
    probes: list[_Component]
    sweep: dict[str, JsonValue] = field(default_factory=dict)
    device: str = "cpu"
    code: dict[str, str] = field(default_factory=dict)
    cell: dict[str, JsonValue] = field(default_factory=dict)
    summary: str = ""
    reference: str = ""
    measures: list[_Component] = field(default_factory=list)
    regimes: list[Label] = field(default_factory=list)
    use: list[str] = field(default_factory=list)
    published: list[dict[str, JsonValue]] = field(default_factory=list)
    format: Annotated[int, Field(strict=True)] = FORMAT

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what decides the numbers, as canonical JSON."""
        told_apart_by = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in {"cell", "summary", "reference", "measures", "regimes", "use", "published"}
        }
        return text_hash(json.dumps(told_apart_by, sort_keys=True))

    @property
    def condition(self) -> str:
        """What is built and trained, whatever the seed, as canonical JSON."""
        return json.dumps([self.stream, self.model, self.strategy, self.regime_options], sort_keys=True)

    @property
    def run_id(self) -> str:
        """A readable, stable name: protocol, regime, seed, and the head of the identity."""
        return f"{self.protocol}-{self.regime}-s{self.seed}-{self.identity[:10]}"

    def flat(self) -> dict[str, Any]:
        """Dotted keys and values of all that can vary between runs but regime and seed.

        A regime's own options are told apart by its label: ``regimes.lazy.alpha``.
        """
        out: dict[str, Any] = {"device": self.device}
        parts = {"stream": self.stream, "model": self.model, "strategy": self.strategy}
        for part, options in (*parts.items(), (f"regimes.{self.regime}", self.regime_options)):
            for key, value in options.items():
                out |= leaves(f"{part}.{key}", value)
        return out

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> "RunSpec":
        """What :meth:`as_dict` gave, checked: it may have been written by anybody.

        Raises:
            ValueError: for anything else; labels and names take part in file names.
        """
        return _adapter().validate_python(data)


@cache
def _adapter() -> TypeAdapter[RunSpec]:
    return TypeAdapter(RunSpec)


def leaves(key: str, value: Any) -> dict[str, Any]:
    """A value by its dotted key; of a mapping, all that is in it."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    return {k: v for name, part in value.items() for k, v in leaves(f"{key}.{name}", part).items()}


def name_of(component: Mapping[str, Any]) -> str:
    """The name of a component written as one mapping: a text, as every spec's is."""
    return component["name"]


def options_of(component: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a component written as one mapping: everything but its name."""
    return {key: value for key, value in component.items() if key != "name"}


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
