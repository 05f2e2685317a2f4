"""The shape of a protocol, and the collection of everything that is wrong with one."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, ValidationInfo, field_validator

from clntk import limits, registry
from clntk.errors import Problem, UnknownName, did_you_mean
from clntk.problems import from_pydantic
from clntk.protocol.spec import Label, Seed, options_of
from clntk.protocol.sweep import refuse_sweep


class Component(BaseModel):
    """A registered name and its options."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Published(BaseModel):
    """A published result: what was reported, and how near to it counts as reproduced."""

    model_config = ConfigDict(extra="forbid", strict=True)

    claim: str = Field(description="one sentence")
    published: str | int | float = Field(description="as it was reported")
    finding: Component = Field(description="what is held against it: one number a seed")
    within: Annotated[list[float | None], Field(min_length=2, max_length=2)] = Field(
        description="bounds of the mean over seeds, both included; null leaves a side open"
    )
    seeds: Annotated[int, Field(ge=1)] = Field(default=1, description="the fewest that can tell")
    quick: Annotated[list[float | None], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="bounds of the quick version, wider as it has fewer seeds"
    )

    @field_validator("within", "quick")
    @classmethod
    def _some_interval(cls, given: list[float | None] | None) -> list[float | None] | None:
        if given is None:
            return given
        low, high = given
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise ValueError("a lower and an upper bound, at most one of them null")
        return given


class Protocol(BaseModel):
    """One experiment: a stream, a model, a strategy, and the regimes to compare.

    Wherever a component is due, its bare name stands for the name with default options.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Label = Field(description="filled in from the file's name")
    summary: str = Field(default="", description="one line on what is asked")
    reference: str = Field(default="", description="the paper this comes from")
    stream: Component
    model: Component
    strategy: Component
    regimes: dict[Label, Component] = Field(
        min_length=1, description="named conditions, the first is the baseline"
    )
    probes: Literal["auto"] | list[Component] = "auto"
    measures: list[Component] = Field(default_factory=list)
    seeds: Annotated[int, Field(ge=1, le=limits.RUNS)] | list[Seed] = 1
    sweep: dict[str, Annotated[list[JsonValue], Field(min_length=1)]] = Field(
        default_factory=dict,
        validate_default=True,
        description='grid over dotted keys; those of "one.key, another.key" move together, with lists of values',
    )
    use: list[str] = Field(default_factory=list, description="files with components of your own")
    device: str = "cpu"
    published: list[Published] = Field(default_factory=list, description="results to reproduce")
    quick: list[str] = Field(default_factory=list, description="overrides that make the quick version")

    @field_validator("seeds", "sweep")
    @classmethod
    def _nothing_twice(cls, given: Any) -> Any:
        """A repeated seed or swept value would be one run counted twice."""
        for key, values in given.items() if isinstance(given, dict) else [("seeds", given)]:
            repeated = (
                [v for i, v in enumerate(values) if v in values[:i]] if isinstance(values, list) else []
            )
            if repeated:
                raise ValueError(f"every value once ({repeated[0]!r} is repeated in {key})")
        return given

    @field_validator("sweep")
    @classmethod
    def _axes(cls, given: dict[str, list[Any]], info: ValidationInfo) -> dict[str, list[Any]]:
        refuse_sweep(given)
        seeds, regimes = (info.data.get(name, 1) for name in ("seeds", "regimes"))
        each = [n if isinstance(n, int) else len(n) for n in (seeds, regimes, *given.values())]
        if math.prod(each) > limits.RUNS:
            raise ValueError(f"at most {limits.RUNS} runs ({' × '.join(map(str, each))} are more)")
        return given

    @property
    def measured(self) -> list[str]:
        """The names of all measures that the protocol, or a result it is held against, asks for."""
        held = [claim.finding.options.get("measure") for claim in self.published]
        return [*(m.name for m in self.measures), *(measure["name"] for measure in held if measure)]

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


def normalised(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The raw mapping with bare component names written out and nested sweep keys flattened."""
    out = dict(raw)
    for key in ("stream", "model", "strategy"):
        if key in out:
            out[key] = _component(out[key])
    if isinstance(out.get("regimes"), Mapping):
        out["regimes"] = {label: _component(value) for label, value in out["regimes"].items()}
    for key in ("probes", "measures"):
        if isinstance(out.get(key), list):
            out[key] = [_component(value) for value in out[key]]
    if isinstance(out.get("published"), list):
        out["published"] = [_finding_written_out(claim) for claim in out["published"]]
    if isinstance(out.get("sweep"), Mapping):
        out["sweep"] = _flat(out["sweep"])
    return out


def problems_of(raw: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with a normalised protocol: structure first, then each component against its schema."""
    found: list[Problem] = []
    try:
        Protocol.model_validate(raw)
    except ValidationError as error:
        found += from_pydantic(error, "", list(Protocol.model_fields), raw)
    places = [(kind, kind, raw.get(kind)) for kind in ("stream", "model", "strategy")]
    if isinstance(raw.get("regimes"), Mapping):
        places += [("regime", f"regimes.{label}", value) for label, value in raw["regimes"].items()]
    for key, kind in (("probes", "probe"), ("measures", "measure")):
        if isinstance(raw.get(key), list):
            places += [(kind, f"{key}.{i}", value) for i, value in enumerate(raw[key])]
    if isinstance(raw.get("published"), list):
        for i, claim in enumerate(raw["published"]):
            finding = claim.get("finding") if isinstance(claim, Mapping) else None
            places.append(("finding", f"published.{i}.finding", finding))
            if isinstance(finding, Mapping) and "measure" in finding:
                place, measure = f"published.{i}.finding.measure", finding["measure"]
                places.append(("measure", place, measure))
                if not isinstance(measure, Mapping) or not isinstance(measure.get("name"), str):
                    found.append(Problem(place, "a name, or a mapping with one", repr(measure)))
    for kind, path, value in places:
        found += _component_problems(kind, path, value)
    return found


def _component_problems(kind: str, path: str, value: Any) -> list[Problem]:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return []  # already reported with the structure
    try:
        entry = registry.get(kind, value["name"])
    except UnknownName:
        known = registry.names(kind)
        hint = did_you_mean(value["name"], known) or f"known: {', '.join(known)}"
        return [Problem(f"{path}.name", f"the name of a registered {kind}", repr(value["name"]), hint)]
    options = options_of(value)
    try:
        entry.check(options)
    except ValidationError as error:
        return from_pydantic(error, path, list(entry.schema.model_fields), options)
    return []


def _component(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _finding_written_out(claim: Any) -> Any:
    """A published result with its finding, and the measure that this is of, as mappings."""
    if not isinstance(claim, Mapping) or "finding" not in claim:
        return claim
    finding = _component(claim["finding"])
    if isinstance(finding, Mapping) and "measure" in finding:
        finding = {**finding, "measure": _component(finding["measure"])}
    return {**claim, "finding": finding}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
