"""One cell after the other, in this process."""

from collections.abc import Callable, Iterable, Iterator

from clntk.engine import Cell, Engine, Result, Tell
from clntk.registry import register


class Serial:
    """Cells one after the other."""

    def map(
        self, work: Callable[[Cell, Tell], Result], cells: Iterable[Cell], tell: Tell
    ) -> Iterator[Result]:
        return (work(cell, tell) for cell in cells)

    def close(self) -> None:
        """Nothing is held."""


@register("engine")
def serial() -> Engine:
    """Runs execute one after the other in this process: the choice for one laptop and for debugging."""
    return Serial()
