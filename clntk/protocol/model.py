"""The shape of a protocol, and the collection of everything that is wrong with one."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clntk import registry
from clntk.errors import Problem, UnknownName, did_you_mean
from clntk.protocol.spec import options_of

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Seed = Annotated[int, Field(ge=0)]


class Component(BaseModel):
    """A registered name and its options."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


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
    seeds: Annotated[int, Field(ge=1)] | list[Seed] = 1
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="grid over dotted keys"
    )
    use: list[str] = Field(default_factory=list, description="files with components of your own")
    device: str = "cpu"

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
    for kind, path, value in places:
        found += _component_problems(kind, path, value)
    return found


def from_pydantic(
    error: ValidationError, path: str, keys: list[str], given: Mapping[str, Any]
) -> list[Problem]:
    """Pydantic's errors about what was given, as problems with dotted paths and the nearest legal key."""
    out: list[Problem] = []
    branches: list[Problem] = []
    for item in error.errors():
        keys_to_it, in_union = _keys_to(item, given)
        where = ".".join(str(part) for part in (path, *keys_to_it) if part != "")
        if item["type"] == "extra_forbidden":
            key = str(item["loc"][-1])
            hint = did_you_mean(key, keys) or f"known: {', '.join(keys)}"
            out.append(Problem(where, "a known key", f"unknown key {key!r}", hint))
        elif item["type"] == "missing":
            out.append(Problem(where, "a value", "nothing", "this key is required"))
        else:
            found = item["input"]
            near = did_you_mean(found, _choices(item)) if isinstance(found, str) else ""
            (branches if in_union else out).append(Problem(where, _sentence(item["msg"]), repr(found), near))
    return out + _joined(branches)


def _keys_to(item: Mapping[str, Any], given: Any) -> tuple[list[Any], bool]:
    """The keys that lead to an error, without the names that pydantic gives to the branches of a union; and whether
    it has such a name."""
    keys: list[Any] = []
    in_union = False
    for part in item["loc"]:
        inside = (
            part in given if isinstance(given, Mapping) else isinstance(given, list) and isinstance(part, int)
        )
        if inside:
            given = given[part]
            keys.append(part)
        elif item["type"] == "missing" and part == item["loc"][-1]:
            keys.append(part)
        elif part != "[key]":
            in_union = True
    return keys, in_union


def _joined(branches: list[Problem]) -> list[Problem]:
    """The problems of a union's branches as one: the branch that got farthest, or all that stop at the same place."""
    places = dict.fromkeys(problem.path for problem in branches)
    out = []
    for place in places:
        if any(other.startswith(f"{place}.") for other in places):
            continue
        here = [problem for problem in branches if problem.path == place]
        expected = " or ".join(dict.fromkeys(problem.expected for problem in here))
        hint = next((problem.hint for problem in here if problem.hint), "")
        out.append(Problem(place, expected, here[0].found, hint))
    return out


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


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _choices(item: Mapping[str, Any]) -> list[str]:
    expected = str(item.get("ctx", {}).get("expected", ""))
    return [choice.strip(" '") for choice in expected.replace(" or ", ",").split(",")]


def _sentence(message: str) -> str:
    for lead in ("Input should be ", "Value error, "):
        message = message.removeprefix(lead)
    message = message.replace("a valid dictionary or instance of Component", "a name, or a mapping with one")
    return message[:1].lower() + message[1:]
