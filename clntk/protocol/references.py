"""What a protocol may refer to: other values of its own, by their dotted keys."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_LONGEST = 1000


def refuse_calls(raw: Mapping[str, Any]) -> None:
    """Check that texts refer to plain values at most: ``${seeds}``, but not ``${oc.env:HOME}``.

    A reference that calls a function could tell what is in the environment; references to what holds others could
    stand for more than any memory holds.

    Raises:
        ValueError: for any other.
    """
    for text in _texts(raw):
        if "${" in _REFERENCE.sub("", text):
            raise ValueError(
                f"expected at most a reference to another key, such as ${{seeds}}, found {text!r}"
            )
        for key in _REFERENCE.findall(text):
            target = _at(raw, key)
            if isinstance(target, dict | list) or (
                isinstance(target, str) and (len(target) > _LONGEST or "${" in target)
            ):
                raise ValueError(f"expected ${{{key}}} to name a plain value, found it to name others")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def _at(raw: Any, key: str) -> Any:
    """What is at a dotted key, or None: that it is not there is said where it is looked up."""
    found = raw
    for part in key.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found
