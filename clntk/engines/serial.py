"""One run after the other, in this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from clntk.registry import register

Cell = TypeVar("Cell")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where cells of work execute; the run store, not the engine, holds the truth about them."""

    def map(self, work: Callable[[Cell], Result], cells: Iterable[Cell]) -> Iterator[Result]:
        """The result of each cell, in any order."""

    def close(self) -> None:
        """Let go of whatever the engine holds."""


class Serial:
    """Cells one after the other."""

    def map(self, work: Callable[[Cell], Result], cells: Iterable[Cell]) -> Iterator[Result]:
        return map(work, cells)

    def close(self) -> None:
        """Nothing is held."""


@register("engine")
def serial() -> Engine:
    """Runs execute one after the other in this process: the choice for one laptop and for debugging."""
    return Serial()
