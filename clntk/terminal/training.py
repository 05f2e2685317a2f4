"""The commands that train: run, replicate and resume, on whatever engine."""

import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from clntk.terminal.results import opened_runs
from clntk.terminal.text import say

SERIAL = "serial"


def engine_of(
    name: str | None, workers: int | None, scheduler: str | None, cluster: Path | None
) -> dict[str, Any]:
    """The engine that the options of the command line name: Dask where they say how."""
    given = {"workers": workers, "scheduler": scheduler, "cluster": cluster and str(cluster)}
    options = {key: value for key, value in given.items() if value is not None}
    return {"name": name or ("dask" if options else SERIAL), **options}


def _engine_options(engine: dict[str, Any]) -> list[str]:
    """The engine as options of the command line."""
    said = {"--engine" if key == "name" else f"--{key}": str(value) for key, value in engine.items()}
    return [] if engine == {"name": SERIAL} else [word for pair in said.items() for word in pair]


def _warm_up(engine: dict[str, Any]) -> None:
    """Workers of this machine begin to start while the protocol is read."""
    if engine["name"] == "dask" and not {"scheduler", "cluster"} & set(engine):
        from clntk.engines.local import warm_up

        warm_up()


def _flags(how: dict[str, Any]) -> list[str]:
    boards = how.get("boards")
    return [*(["--together"] if how["together"] else []), *(["--tensorboard", str(boards)] if boards else [])]


def run_protocol(protocol: str, overrides: list[str], store: Path, **how: Any) -> None:
    _warm_up(how["engine"])
    from clntk.protocol import expand, load

    specs = expand(load(protocol, overrides))
    _carry_out(specs, store, how, ["run", protocol, *overrides, "--store", str(store)])


def replicate_published(names: list[str], store: Path, out: Path | None, *, quick: bool, **how: Any) -> None:
    _warm_up(how["engine"])
    from clntk.protocol.expand import expand
    from clntk.protocol.load import load, replications
    from clntk.report.replications import write_replications
    from clntk.runs.build import component
    from clntk.runs.runset import open_runs
    from clntk.stats.replication import count
    from clntk.terminal.progress import measuring

    chosen = {name: expand(load(name, quick=quick)) for name in names or replications()}
    again = ["replicate", *names, "--store", str(store), *(["--quick"] if quick else [])]
    _carry_out([spec for specs in chosen.values() for spec in specs], store, how, again)
    opened = open_runs(store)
    sets = (opened.only(spec.run_id for spec in specs) for specs in chosen.values())
    with measuring(Console(stderr=True)) as watch, closing(component("engine", how["engine"])) as engine:
        page, table = write_replications(sets, (out or store) / "replications.html", engine, watch)
    say(f"{count(table)}\n{page}")


def resume_runs(runs: Path, protocol: str | None, use: Sequence[Path], **how: Any) -> None:
    _warm_up(how["engine"])
    from clntk.runs.runset import open_runs, unfinished
    from clntk.runs.used import refuse_unnamed_or_changed

    opened = opened_runs(open_runs, runs, protocol, use)
    specs = unfinished(opened)
    if not specs:
        others = f"; {len(opened.others)} others cannot be used (see clntk status)" if opened.others else ""
        say(f"nothing to resume: {len(opened)} runs in {runs} are done{others}")
        return
    for spec in specs:
        refuse_unnamed_or_changed(spec)
    named = [word for path in use for word in ("--use", str(path))]
    _carry_out(specs, runs, how, ["resume", str(runs), *named])


def _carry_out(specs: list, store: Path, how: dict[str, Any], command: list[str]) -> None:
    from clntk.runs.interrupt import Terminated
    from clntk.runs.run import run_specs
    from clntk.terminal.progress import progress
    from clntk.terminal.tensorboard import tensorboard

    console = Console()
    try:
        several = len({spec.protocol for spec in specs}) > 1
        with (
            progress(len(specs), console, protocols=several) as shown,
            tensorboard(how.get("boards"), shown) as listener,
        ):
            training = {name: value for name, value in how.items() if name != "boards"}
            tally = run_specs(specs, store=store, listener=listener, **training)
    except (KeyboardInterrupt, Terminated):
        again = shlex.join(["clntk", *command, *_engine_options(how["engine"]), *_flags(how)])
        say(
            f"\ninterrupted: everything up to the last task boundary is saved; go on with\n  {again}",
            err=True,
        )
        raise
    if tally.count("skipped") == len(specs):
        say(f"nothing to do: all {len(specs)} runs were done before and lie in {store}")
    else:
        before = f", {tally.count('skipped')} done before" if tally.count("skipped") else ""
        say(f"{tally.count('done')} of {len(specs)} runs done{before}; they lie in {store}")
    if tally.failed:
        say(f"{len(tally.failed)} failed; the first says: {tally.failed[0].message}", err=True)
        raise typer.Exit(1)
