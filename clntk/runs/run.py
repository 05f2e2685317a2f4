"""Run a protocol: expand it, do what is missing, hand back the runs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from clntk import registry
from clntk.errors import ClntkError
from clntk.protocol import RunSpec, expand, load
from clntk.runs.events import Event, Listener, What, ignore
from clntk.runs.execute import Outcome, execute
from clntk.runs.interrupt import heeded_interrupts
from clntk.runs.preflight import preflight
from clntk.runs.runset import RunSet, open_runs
from clntk.runs.store import RunStore
from clntk.runs.together import candidates, execute_together


@dataclass(frozen=True)
class Tally:
    """How the runs of a protocol ended."""

    outcomes: tuple[Outcome, ...]

    def count(self, status: str) -> int:
        return Counter(outcome.status for outcome in self.outcomes)[status]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]


def run(
    protocol: str | Path,
    overrides: Iterable[str] = (),
    *,
    store: str | Path = "runs",
    engine: str = "serial",
    retry_failed: bool = False,
    together: bool = False,
    listener: Listener = ignore,
) -> RunSet:
    """Run a continual protocol and return its runs; what the store already holds is not computed again.

    Args:
        protocol: a name, or the path of a YAML file.
        overrides: ``key=value`` strings with dotted keys.
        store: the folder of runs.
        engine: a registered engine.
        retry_failed: whether runs that failed for a reason of their own (divergence, say) are tried again.
        together: whether regimes and seeds whose networks are alike are trained as one batched computation: several
            times faster for small networks, with results equal to those of one by one but for rounding. Whatever
            cannot be trained so is trained one by one.
        listener: told what happens.

    Raises:
        ProtocolError: with everything wrong with the protocol.
        StoreError: if the store cannot be written.
        ClntkError: if every run failed.
    """
    specs = expand(load(protocol, overrides))
    tally = run_specs(
        specs, store=store, engine=engine, retry_failed=retry_failed, together=together, listener=listener
    )
    runs = open_runs(store).only(spec.run_id for spec in specs)
    if not runs.runs:
        raise ClntkError(f"all {len(specs)} runs failed; the first says: {tally.failed[0].message}")
    return runs


def run_specs(
    specs: list[RunSpec],
    *,
    store: str | Path,
    engine: str = "serial",
    retry_failed: bool = False,
    together: bool = False,
    listener: Listener = ignore,
) -> Tally:
    """Carry out run specs on an engine; runs in another process's hands are waited for at the end.

    Raises:
        ProtocolError: before anything is written, if a stream, model, regime and strategy do not fit together.
        StoreError: if the store cannot be written.
    """
    make_engine = registry.get("engine", engine)
    runs = RunStore(store)
    preflight(spec for spec in specs if not runs.is_published(spec.run_id))
    runs.enrol(specs)
    wanted, settled = [], []
    for spec in specs:
        failure = None if retry_failed else runs.failure(spec.run_id)
        if failure is not None and failure["repeatable"] and not runs.is_published(spec.run_id):
            settled.append(Outcome(spec.run_id, "failed", failure["reason"]))
            listener(Event(What.FAILED, spec, {**failure, "before": True}))
        else:
            wanted.append(spec)
    with heeded_interrupts(listener) as heeding:
        return Tally((*settled, *_carried_out(wanted, runs, make_engine, heeding, together)))


def _carried_out(
    wanted: list[RunSpec], runs: RunStore, make_engine: registry.Entry, listener: Listener, together: bool
) -> list[Outcome]:
    backend = make_engine()
    try:
        if together:
            work = partial(execute_together, store=runs, listener=listener)
            outcomes = list(chain(*backend.map(work, candidates(wanted))))
        else:
            outcomes = list(backend.map(partial(execute, store=runs, listener=listener), wanted))
    finally:
        backend.close()
    by_id = {spec.run_id: spec for spec in wanted}
    for i, outcome in enumerate(outcomes):
        if outcome.status == "busy":
            listener(Event(What.WAITING, by_id[outcome.run_id]))
            outcomes[i] = execute(by_id[outcome.run_id], runs, listener=listener, wait=True)
    return outcomes
