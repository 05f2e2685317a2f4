"""What a description of an infinitely wide network may be given."""

import math
from collections.abc import Sequence
from typing import Any

from clntk.errors import DataError


def each(given: Any, count: int, where: str) -> list:
    """One value a layer.

    Raises:
        DataError: if there are not as many as layers.
    """
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * count
    if len(values) != count:
        raise DataError(f"{where}: expected one, or {count}, one a layer, found {len(values)}")
    return values


def sigma_of_each(sigma_w: Any, sigma_b: Any, count: int, where: str) -> list[tuple[float, float | None]]:
    """σ_w and σ_b of each layer.

    Raises:
        DataError: for a wrong number of them, or one that is negative or not finite.
    """
    weights, biases = each(sigma_w, count, f"{where}.sigma_w"), each(sigma_b, count, f"{where}.sigma_b")
    for name, values in (("sigma_w", weights), ("sigma_b", [b for b in biases if b is not None])):
        for value in values:
            if not 0 <= value < math.inf:
                raise DataError(f"{where}.{name}: expected finite numbers of at least 0, found {value}")
    return list(zip(weights, biases, strict=True))


def fan_in_of_each(where: str, depth: int, *, width: Any, inputs: int | None) -> list[int]:
    """The fan-in of each layer in standard parametrisation.

    Raises:
        DataError: if a size is missing or not positive.
    """
    for name, size in (("width", width), ("inputs", inputs)):
        if size is None and not (name == "width" and depth == 0):
            raise DataError(
                f"{where}.{name}: expected a number in standard parametrisation, whose tangent kernel grows with it, "
                "found none"
            )
    fan_ins = [inputs, *each(width, depth, f"{where}.width")]
    for name, sizes in (("inputs", fan_ins[:1]), ("width", fan_ins[1:])):
        for size in sizes:
            at_least(where, 1, **{name: size})
    return fan_ins


def unused(where: str, **sizes: Any) -> None:
    """
    Raises:
        DataError: for a size that is given where kernels do not depend on it.
    """
    for name, size in sizes.items():
        if size is not None:
            raise DataError(
                f"{where}.{name}: expected none in NTK parametrisation, where kernels do not depend on it, found "
                f"{size}; leave it out, or take parametrization='standard'"
            )


def one_of(where: str, value: str, known: Sequence[str]) -> None:
    """
    Raises:
        DataError: for a value that is not known.
    """
    if value not in known:
        raise DataError(f"{where}: expected one of {', '.join(known)}, found {value!r}")


def at_least(where: str, least: int, **values: int) -> None:
    """
    Raises:
        DataError: for a value that is smaller.
    """
    for name, value in values.items():
        if value < least:
            raise DataError(f"{where}.{name}: expected at least {least}, found {value}")
