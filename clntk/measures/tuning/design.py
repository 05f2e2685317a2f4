"""Which example belongs to which task and stimulus: what everything about tuning is computed from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

AT_ONCE = 2**21  # elements of a temporary array: 16 MiB in double precision

PerUnit = dict[str, np.ndarray]  # index → values, with the unit on the first axis


@dataclass(frozen=True)
class Design:
    """The examples of an experiment, each of one task and one stimulus.

    A *cell* holds the repeats of one stimulus in one task; without stimuli every example is a cell. Functions
    of this package take activations with the examples *arranged*: task after task, cell after cell.

    Args:
        tasks: the tasks' labels.
        task: position of each example's task, shape (examples,).
        stimulus: position of each example's stimulus, shape (examples,).
    """

    tasks: list[str]
    task: np.ndarray
    stimulus: np.ndarray

    @classmethod
    def without_stimuli(cls, tasks: list[str], task: np.ndarray) -> "Design":
        return cls(tasks, task, np.arange(len(task)))

    @cached_property
    def order(self) -> np.ndarray:
        """The examples as arranged; those of a cell keep their order."""
        return np.lexsort((self.stimulus, self.task))

    @cached_property
    def task_starts(self) -> np.ndarray:
        """Where each task begins among the arranged examples."""
        return np.searchsorted(self.task[self.order], np.arange(len(self.tasks)))

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each cell: task and stimulus, where it begins among the arranged examples, how many it has."""
        pairs = np.stack([self.task, self.stimulus])[:, self.order]
        return np.unique(pairs, axis=1, return_index=True, return_counts=True)

    @property
    def cell_task(self) -> np.ndarray:
        """Each cell's task, ascending."""
        return self._cells[0][0]

    @property
    def cell_sizes(self) -> np.ndarray:
        """How many examples each cell has."""
        return self._cells[2]

    @cached_property
    def pool(self) -> np.ndarray:
        """Cells that are exchangeable, if task means nothing, have the same number, shape (cells,).

        A stimulus shown in several tasks is its own pool, so that tasks are compared on equal stimuli; those
        shown in one task only form a pool together, so that a stimulus moves with all its repeats.
        """
        _, stimulus, shown_in = np.unique(self._cells[0][1], return_inverse=True, return_counts=True)
        return np.where(shown_in[stimulus] > 1, stimulus + 1, 0)

    def by_task(self, arranged: np.ndarray) -> list[np.ndarray]:
        """The arranged examples of each task."""
        return np.split(arranged, self.task_starts[1:])

    def cell_sums(self, arranged: np.ndarray) -> np.ndarray:
        """Sums over the repeats of each cell, shape (cells, …)."""
        starts = self._cells[1]
        return arranged if len(starts) == len(arranged) else np.add.reduceat(arranged, starts, axis=0)

    def cell_means(self, arranged: np.ndarray) -> np.ndarray:
        """Means over the repeats of each cell, shape (cells, …)."""
        return self.cell_sums(arranged) / self.cell_sizes[:, None]

    def for_units(self, function: Callable[[np.ndarray], PerUnit], activations: np.ndarray) -> PerUnit:
        """What a function of arranged activations gives for all units, computed for some units at a time.

        Args:
            function: of activations in double precision, shape (arranged examples, some of the units).
            activations: shape (examples, units), in any order and precision.
        """
        parts = [function(chunk) for chunk in self._chunks(activations)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _chunks(self, activations: np.ndarray) -> Iterator[np.ndarray]:
        n_examples, n_units = activations.shape
        width = max(1, AT_ONCE // n_examples)
        for start in range(0, max(n_units, 1), width):  # one chunk even of no units, for the right shapes
            yield activations[:, start : start + width][self.order].astype(np.float64, copy=False)
