"""The order in which several workers are handed cells: what takes long first, so that no long run ends alone."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean

from clntk.protocol.spec import RunSpec
from clntk.runs.build import Built
from clntk.strategies.training import Training

Cell = list[RunSpec]
Kind = tuple[str, ...]  # the conditions of a cell's runs


def size(built: Built, training: Training) -> float:
    """Parameters times training examples: what the work of a run grows with.

    Args:
        built: its stream and network.
        training: how often it sees the examples, unless its loss lets it stop before.
    """
    stream = built.stream
    trained = [phase for phase in stream.phases if phase.until is None]  # not the parts that end with a look
    examples = sum(
        len(stream.tasks[task].train if phase.rows is None else phase.rows[i])
        for phase in trained
        for i, task in enumerate(phase.tasks)
    )
    return float(sum(p.numel() for p in built.regime.model.parameters()) * examples * training.epochs)


class Expected:
    """How long cells should take: as others of their conditions took, or by what is to be done in them.

    Args:
        sizes: by condition, what the work grows with; 0 where nobody knows.
    """

    def __init__(self, sizes: Mapping[str, float]) -> None:
        self._sizes = sizes
        self._took: defaultdict[Kind, list[float]] = defaultdict(list)
        self._all_sizes, self._all_seconds = 0.0, 0.0
        self.learned = 0  # cells

    def took(self, cell: Cell, seconds: float) -> None:
        """Learn how long a cell took from its start to its end."""
        of = kind(cell)
        self._took[of].append(seconds)
        self._all_sizes += self._size(of)
        self._all_seconds += seconds
        self.learned += 1

    def __call__(self, of: Kind) -> float:
        """Seconds, for cells of a kind; sizes, until the first cell has ended."""
        if of in self._took:
            return fmean(self._took[of])
        return self._size(of) * (self._all_seconds / self._all_sizes if self._all_sizes else 1.0)

    def _size(self, of: Kind) -> float:
        return sum(self._sizes.get(condition, 0.0) for condition in of)


def longest_first(cells: Iterable[Cell], expected: Expected) -> Iterator[Cell]:
    """Cells as they are asked for: one of each kind, and then of those that wait what should take longest.

    Cells of a kind stay in order. What is learned between two cells counts from the next.
    """
    waiting: defaultdict[Kind, deque[Cell]] = defaultdict(deque)
    for cell in cells:
        waiting[kind(cell)].append(cell)
    for each in sorted(waiting, key=expected, reverse=True):
        yield waiting[each].popleft()
    rest, learned = [each for each in waiting if waiting[each]], -1
    while rest:
        if expected.learned != learned:
            learned = expected.learned
            rest.sort(key=expected)
        yield waiting[rest[-1]].popleft()
        if not waiting[rest[-1]]:
            rest.pop()


def kind(cell: Cell) -> Kind:
    """What cells of the same conditions have in common, whatever their seeds."""
    return tuple(spec.condition for spec in cell)
