"""A cell of an engine: runs carried out somewhere, and what is to be done about those that came to nothing."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from filelock import Timeout

from clntk import python_files
from clntk.engine import Engine, Lost, Message, Tell
from clntk.protocol.spec import RunSpec
from clntk.runs.events import Event, Listener, What
from clntk.runs.execute import Outcome, execute
from clntk.runs.longest_first import Cell, Expected, longest_first
from clntk.runs.store import RunStore
from clntk.runs.together import candidates, execute_together


def carry_out(
    cell: Cell, tell: Tell, *, root: Path, wait: bool, use: Sequence[Path] = ()
) -> tuple[list[Outcome], float]:
    """Carry out the runs of a cell, together if there are several, wherever an engine calls this.

    Args:
        cell: what to run.
        tell: told of the events, as messages.
        root: the store's folder.
        wait: whether to wait for other processes that have the runs.
        use: files of components that were loaded where the command was given: never what a stored spec names.

    Returns:
        How the runs ended, and after how many seconds.
    """
    begun = time.monotonic()
    for path in use:
        python_files.use(path)  # in a process of an engine's own, nobody has

    def listener(event: Event) -> None:
        tell(event.as_message())

    store = RunStore(root)
    if len(cell) > 1:
        outcomes = execute_together(cell, store, listener=listener)
    else:
        outcomes = [execute(spec, store, listener=listener, wait=wait) for spec in cell]
    return outcomes, time.monotonic() - begun


@dataclass
class Rounds:
    """Cells carried out on an engine, in as many rounds as it takes.

    A run that another process has is waited for once all others are done. One that lost its worker goes on from its
    last task boundary, as long as it gets farther each time; one that does not has failed.

    Args:
        engine: where to.
        store: of the runs.
        listener: told what happens.
        expected: where several workers share the cells, how long they should take: long ones are begun first.
    """

    engine: Engine
    store: RunStore
    listener: Listener
    expected: Expected | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, specs: list[RunSpec], *, together: bool) -> list[Outcome]:
        """All of them, in order."""
        self._specs = {spec.run_id: spec for spec in specs}
        cells = candidates(specs) if together else [[spec] for spec in specs]
        wait = False
        while cells:
            cells = list(self._round(cells, wait=wait))
            wait = True
            for spec in chain(*cells):
                if spec.run_id in self.outcomes:
                    self.listener(Event(What.WAITING, spec))
        return [self.outcomes[spec.run_id] for spec in specs]

    def _round(self, cells: list[Cell], *, wait: bool) -> Iterator[Cell]:
        """Carry cells out; those that are to be carried out again."""
        before = {spec.run_id: self.store.progress(spec.run_id) for cell in cells for spec in cell}
        work = partial(carry_out, root=self.store.root, wait=wait, use=python_files.used())
        order = cells if self.expected is None else longest_first(cells, self.expected)
        for result in self.engine.map(work, order, self._tell):
            if isinstance(result, Lost):
                yield from self._lost(result, before)
            else:
                yield from self._ended(*result)

    def _ended(self, outcomes: list[Outcome], seconds: float) -> Iterator[Cell]:
        self.outcomes |= {outcome.run_id: outcome for outcome in outcomes}
        cell = [self._specs[outcome.run_id] for outcome in outcomes]
        if self.expected is not None and all(outcome.status == "done" for outcome in outcomes):
            self.expected.took(cell, seconds)
        for spec, outcome in zip(cell, outcomes, strict=True):
            if outcome.status == "busy":
                yield [spec]

    def _tell(self, message: Message) -> None:
        self.listener(Event.from_message(message, self._specs))

    def _lost(self, lost: Lost[Cell], before: dict[str, int]) -> Iterator[Cell]:
        got_on = any(self.store.progress(spec.run_id) != before[spec.run_id] for spec in lost.cell)
        if got_on or len(lost.cell) > 1:  # of several, who knows which one it was
            yield from ([spec] for spec in lost.cell)
            return
        (spec,) = lost.cell
        failure = {"reason": lost.reason, "kind": "Lost", "repeatable": True}
        try:
            with self.store.lock(spec.run_id):
                self.store.fail(spec.run_id, failure)
        except Timeout:  # another process took it up
            yield [spec]
            return
        self.listener(Event(What.FAILED, spec, failure))
        self.outcomes[spec.run_id] = Outcome(spec.run_id, "failed", lost.reason)
