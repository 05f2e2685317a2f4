"""What an engine owes those who use it: cells of work carried out somewhere, results and messages handed back."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Cell = TypeVar("Cell")
Result = TypeVar("Result")
Message = dict[
    str, Any
]  # of plain values: it may travel between machines; one that is "passing" may get lost
Tell = Callable[[Message], None]


@dataclass(frozen=True)
class Lost(Generic[Cell]):
    """What there is of a cell whose worker died under it again and again.

    Args:
        cell: the cell.
        reason: a sentence on what happened.
    """

    cell: Cell
    reason: str


class Engine(Protocol):
    """Where cells of work execute; the run store, not the engine, holds the truth about them."""

    def map(
        self, work: Callable[[Cell, Tell], Result], cells: Iterable[Cell], tell: Tell
    ) -> Iterator[Result | Lost[Cell]]:
        """The result of each cell, in any order, as they come.

        Args:
            work: carries out one cell; what it says on the way goes to ``tell``, in the caller's thread.
            cells: what to carry out, asked for as there is room: what results teach may decide what comes next.
            tell: is told.

        Raises:
            Exception: whatever ``work`` raises; cells that have not begun are then not carried out.
        """

    def close(self) -> None:
        """Let go of whatever the engine holds."""
