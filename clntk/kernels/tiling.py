"""How a kernel that is kept on disk is cut into tiles."""

from collections.abc import Iterator
from dataclasses import dataclass

AXES = {
    "ncmd": ("probe", "output", "other_probe", "other_output"),
    "cndm": ("output", "probe", "other_output", "other_probe"),
    "nm": ("probe", "other_probe"),
}


@dataclass(frozen=True)
class Tiling:
    """How a kernel is cut.

    Args:
        n, m: examples on both sides.
        outputs: 1 for a trace kernel, which has no axes of outputs.
        side: examples along a tile.
        layout: the order of axes.
        symmetric: only tiles on and below the diagonal are kept.
    """

    n: int
    m: int
    outputs: int
    side: int
    layout: str
    symmetric: bool

    @classmethod
    def of(
        cls, n: int, m: int, outputs: int, item: int, tile_bytes: int, *, layout: str, symmetric: bool
    ) -> "Tiling":
        """Tiles of about equal sides of at most ``tile_bytes``, or of one example."""
        most = max(1, int((tile_bytes / item) ** 0.5 / outputs))
        longest = max(n, m)
        return cls(n, m, outputs, -(-longest // -(-longest // most)), layout, symmetric)

    def shaped(self, n: int, m: int) -> tuple[int, ...]:
        """The shape of n × m examples in this layout."""
        sizes = {"probe": n, "other_probe": m, "output": self.outputs, "other_output": self.outputs}
        return tuple(sizes[axis] for axis in AXES[self.layout])

    @property
    def tile_shape(self) -> tuple[int, ...]:
        """Of a whole tile in this layout."""
        return self.shaped(self.side, self.side)

    @property
    def count(self) -> int:
        """How many tiles there are."""
        rows, columns = (-(-size // self.side) for size in (self.n, self.m))
        return rows * (rows + 1) // 2 if self.symmetric else rows * columns

    def tiles(self) -> Iterator[tuple[int, int]]:
        """In an order in which neighbours share a side."""
        for i in range(-(-self.n // self.side)):
            row = range(i + 1) if self.symmetric else range(-(-self.m // self.side))
            yield from ((i, j) for j in (row if i % 2 == 0 else reversed(row)))

    def examples(self, i: int) -> slice:
        return slice(i * self.side, (i + 1) * self.side)

    def where(self, i: int, j: int) -> tuple[slice, ...]:
        """Tile (i, j) in the array."""
        place = {"probe": self.examples(i), "other_probe": self.examples(j)}
        return tuple(place.get(axis, slice(None)) for axis in AXES[self.layout])
