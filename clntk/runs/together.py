"""Many runs at once: runs that halt at each phase, whose epochs are taken as one batched computation where they can."""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict

import torch

from clntk.kernels.budget import free_memory
from clntk.protocol.spec import RunSpec
from clntk.runs.boundary import callers_generators, generator_state, set_generator_state
from clntk.runs.events import Listener, ignore
from clntk.runs.execute import Outcome, Turns, turns
from clntk.runs.session import Session
from clntk.runs.store import RunStore
from clntk.runs.torch_state import steady_torch

SHARE = 0.25  # of the free memory that runs in progress may take


def candidates(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """Runs that differ in regime and seed alone, grouped: their networks may be alike."""
    groups: dict[str, list[RunSpec]] = defaultdict(list)
    for spec in specs:
        parts = asdict(spec)
        groups[
            json.dumps([parts[k] for k in ("stream", "model", "strategy", "probes", "code", "device")])
        ].append(spec)
    return list(groups.values())


def execute_together(
    specs: Sequence[RunSpec], store: RunStore, *, listener: Listener = ignore
) -> list[Outcome]:
    """Carry out runs together, as :func:`clntk.runs.execute.execute` does one.

    The results are those of carrying them out one by one, but for rounding. Where networks, strategies or phases do
    not allow it, their epochs are taken one by one. As many runs are in progress at once as a quarter of the free
    memory holds.

    Args:
        specs: what to run.
        store: where to.
        listener: told what happens.

    Returns:
        How each ended, in order.

    Raises:
        StoreError: if the disk refuses; nothing else, but for an interrupt.
    """
    waiting = list(specs)
    outcomes: dict[str, Outcome] = {}
    while waiting:
        with steady_torch(), callers_generators(), ExitStack() as in_progress:
            for run in _all_at_once(_started(waiting, store, listener, in_progress)):
                assert run.outcome is not None  # it has come to its end
                outcomes[run.outcome.run_id] = run.outcome
    return [outcomes[spec.run_id] for spec in specs]


class _Run:
    """A run that takes turns with others, under random generators of its own."""

    def __init__(self, steps: Turns) -> None:
        self.steps = steps
        self.generators = generator_state()
        self.session: Session | None = None
        self.outcome: Outcome | None = None

    @property
    def halted(self) -> Session:
        """Its session, between its start and its end."""
        assert self.session is not None
        return self.session

    def go_on(self, error: Exception | None = None) -> None:
        """To its next phase or its end."""
        set_generator_state(self.generators)
        try:
            self.session = next(self.steps) if error is None else self.steps.throw(error)
        except StopIteration as end:
            self.session, self.outcome = None, end.value
        self.generators = generator_state()

    def alone(self) -> None:
        """Take the epochs of its phase, and go on."""
        set_generator_state(self.generators)
        error = None
        try:
            self.halted.learner.epochs()
        except Exception as raised:
            error = raised
        self.generators = generator_state()
        self.go_on(error)


def _started(
    waiting: list[RunSpec], store: RunStore, listener: Listener, in_progress: ExitStack
) -> Iterator[_Run]:
    """Runs taken from those that wait, begun, as long as there is memory for further ones."""
    from clntk.strategies.avalanche.together import footprint

    room = None
    while waiting and (room is None or room > 0):
        run = _Run(in_progress.enter_context(closing(turns(waiting.pop(0), store, listener=listener))))
        run.go_on()
        if run.session is not None:
            learner = run.session.learner
            if room is None:
                room = SHARE * free_memory(learner.strategy.device)
            room -= footprint(learner)
        yield run


def _all_at_once(runs: Iterable[_Run]) -> list[_Run]:
    """Bring runs to their ends, the epochs of phases that are alike taken together."""
    runs = list(runs)
    recorded: dict[Hashable, dict] = {}
    while going := [run for run in runs if run.session is not None]:
        for group in _alike(going):
            if len(group) == 1 or not _together(group, recorded):
                for run in group:
                    run.alone()
    return runs


def _alike(runs: list[_Run]) -> list[list[_Run]]:
    from clntk.strategies.avalanche.together import alike
    from clntk.strategies.stacked import NotAlike

    groups: dict[Hashable, list[_Run]] = defaultdict(list)
    for i, run in enumerate(runs):
        try:
            key = alike(run.halted.learner)
        except NotAlike:
            key = i
        groups[key].append(run)
    return list(groups.values())


def _together(runs: list[_Run], recorded: dict[Hashable, dict]) -> bool:
    """Take the epochs of alike phases together, and let all go on; False if it turns out that they are not alike."""
    from clntk.strategies.avalanche.together import take_epochs
    from clntk.strategies.stacked import NotAlike

    sources = [torch.Generator() for _ in runs]
    for source, run in zip(sources, runs, strict=True):
        source.set_state(run.generators["torch"])
    try:
        failures = take_epochs([run.halted.learner for run in runs], sources, recorded)
    except NotAlike:
        return False
    for run, source, failure in zip(runs, sources, failures, strict=True):
        run.generators["torch"] = source.get_state()
        run.halted.taken_beside(len(runs) - 1)
        run.go_on(failure)
    return True
