"""Pydantic's errors as problems that a user can mend: where, what was expected, what was found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clntk.errors import Problem, did_you_mean

if TYPE_CHECKING:
    from pydantic import ValidationError


def from_pydantic(
    error: "ValidationError", path: str, keys: list[str], given: Mapping[str, Any]
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


def _choices(item: Mapping[str, Any]) -> list[str]:
    expected = str(item.get("ctx", {}).get("expected", ""))
    return [choice.strip(" '") for choice in expected.replace(" or ", ",").split(",")]


def _sentence(message: str) -> str:
    for lead in ("Input should be ", "Value error, "):
        message = message.removeprefix(lead)
    message = message.replace("a valid dictionary or instance of Component", "a name, or a mapping with one")
    return message[:1].lower() + message[1:]
