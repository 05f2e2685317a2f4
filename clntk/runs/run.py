"""Run a protocol: expand it, do what is missing, hand back the runs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clntk import registry
from clntk.errors import ClntkError
from clntk.protocol import RunSpec, expand, load
from clntk.protocol.spec import options_of
from clntk.runs.carry_out import Rounds
from clntk.runs.events import Event, Listener, What, ignore
from clntk.runs.execute import Outcome
from clntk.runs.interrupt import heeded_signals
from clntk.runs.longest_first import Expected
from clntk.runs.preflight import preflight
from clntk.runs.runset import RunSet, open_runs
from clntk.runs.store import RunStore


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
    protocol: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    store: str | Path = "runs",
    engine: str | Mapping[str, Any] = "serial",
    retry_failed: bool = False,
    together: bool = False,
    listener: Listener = ignore,
) -> RunSet:
    """Run a continual protocol and return its runs; what the store already holds is not computed again.

    Args:
        protocol: a name, the path of a YAML file, or a mapping of what such a file says, with its ``name``.
        overrides: ``key=value`` strings with dotted keys.
        store: the folder of runs.
        engine: a registered engine, or a mapping of its ``name`` and options: ``{"name": "dask", "workers": 4}``.
        retry_failed: whether runs that failed for a reason of their own (divergence, say) are tried again.
        together: whether regimes and seeds whose networks are alike are trained as one batched computation: several
            times faster for small networks, with results equal to those of one by one but for rounding. Whatever
            cannot be trained so is trained one by one.
        listener: told what happens.

    Raises:
        ProtocolError: with everything wrong with the protocol.
        StoreError: if the store cannot be written.
        ClntkError: if every run failed, or the engine cannot be had or is lost on the way.
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
    engine: str | Mapping[str, Any] = "serial",
    retry_failed: bool = False,
    together: bool = False,
    listener: Listener = ignore,
) -> Tally:
    """Carry out run specs on an engine; runs in another process's hands are waited for at the end.

    Raises:
        ProtocolError: before anything is written, if a stream, model, regime and strategy do not fit together.
        StoreError: if the store cannot be written.
        ClntkError: if the engine cannot be had, or is lost on the way.
    """
    chosen = {"name": engine} if isinstance(engine, str) else engine
    make_engine = registry.get("engine", chosen["name"])
    make_engine.check(options_of(chosen))
    runs = RunStore(store)
    sizes = preflight(spec for spec in specs if not runs.is_published(spec.run_id))
    runs.enrol(specs)
    wanted, settled = [], []
    for spec in specs:
        failure = None if retry_failed else runs.failure(spec.run_id)
        if failure is not None and failure["repeatable"] and not runs.is_published(spec.run_id):
            settled.append(Outcome(spec.run_id, "failed", failure["reason"]))
            listener(Event(What.FAILED, spec, {**failure, "before": True}))
        else:
            wanted.append(spec)
    remote = bool(make_engine.traits.get("remote"))
    with heeded_signals(listener, at_once=remote) as heeding:
        backend = make_engine(**options_of(chosen))
        with closing(backend):
            rounds = Rounds(backend, runs, heeding, Expected(sizes) if remote else None)
            outcomes = rounds.run(wanted, together=together)
    return Tally((*settled, *outcomes))
