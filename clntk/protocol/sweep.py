"""The cells of a sweep: a grid over dotted keys, of which some may move together."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any


def keys_of(key: str) -> list[str]:
    """The dotted keys of one axis of the grid: "a.b" alone, or "a.b, c.d", which move together."""
    return [part.strip() for part in key.split(",")]


def points(key: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """Each value of one axis as the settings that it stands for.

    Args:
        key: see :func:`keys_of`.
        values: of one key, anything; of several, lists with a value for each.
    """
    keys = keys_of(key)
    return [{key: value} if len(keys) == 1 else dict(zip(keys, value, strict=True)) for value in values]


def cells(sweep: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The settings of every cell, the last axis changing fastest; one empty cell where nothing is swept."""
    axes = [points(key, values) for key, values in sweep.items()]
    return [{k: v for part in cell for k, v in part.items()} for cell in product(*axes)]


def refuse_sweep(sweep: Mapping[str, Sequence[Any]]) -> None:
    """Check that keys which move together have a value each, and that none is on two axes.

    Raises:
        ValueError: in words for whoever wrote the protocol.
    """
    seen: set[str] = set()
    for key, values in sweep.items():
        keys = keys_of(key)
        if twice := seen & set(keys) or (len(set(keys)) < len(keys) and {key}):
            raise ValueError(f"every key once ({', '.join(twice)} is repeated)")
        seen |= set(keys)
        for value in values if len(keys) > 1 else ():
            if not isinstance(value, list) or len(value) != len(keys):
                raise ValueError(
                    f"for {key!r} lists of {len(keys)} values, one for each key ({value!r} is none)"
                )
