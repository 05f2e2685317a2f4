"""The JSON schema of protocols, for completion and checks in editors."""

from typing import Any

from clntk import registry
from clntk.protocol.model import Protocol


def json_schema() -> dict[str, Any]:
    """The schema of a protocol, with every registered component's own options."""
    schema = Protocol.model_json_schema()
    schema["title"] = "clntk protocol"
    schema.pop("description", None)
    properties = schema["properties"]
    for key in ("stream", "model", "strategy"):
        properties[key] = _any_of(key)
    properties["regimes"]["additionalProperties"] = _any_of("regime")
    properties["regimes"].pop("patternProperties", None)
    properties["measures"] = {"type": "array", "items": _any_of("measure")}
    properties["probes"] = {"anyOf": [{"const": "auto"}, {"type": "array", "items": _any_of("probe")}]}
    schema["required"] = [key for key in schema["required"] if key != "name"]
    schema.pop("$defs", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _any_of(kind: str) -> dict[str, Any]:
    names = registry.names(kind)
    return {"anyOf": [{"enum": names}, *(_component(kind, name) for name in names)]}


def _component(kind: str, name: str) -> dict[str, Any]:
    entry = registry.get(kind, name)
    schema = entry.schema.model_json_schema()
    schema["properties"] = {"name": {"const": name}, **schema.get("properties", {})}
    schema["required"] = ["name", *schema.get("required", [])]
    schema["description"] = entry.summary
    return schema
