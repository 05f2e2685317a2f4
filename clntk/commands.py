"""What the commands do: public functions, and their results on the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clntk import registry
from clntk.errors import StoreError, UnknownName, did_you_mean

_STATE_STYLE = {
    "done": "green",
    "failed": "red",
    "damaged": "red",
    "running": "cyan",
    "interrupted": "yellow",
}


def print_status(runs: Path, protocol: str | None) -> None:
    from clntk.runs.store import RunStore

    standings = [
        s for s in RunStore(runs).standings() if protocol is None or (s.spec and s.spec.protocol == protocol)
    ]
    counts: dict[tuple[str, str], int] = {}
    for standing in standings:
        key = (standing.spec.protocol if standing.spec else "?", str(standing.state))
        counts[key] = counts.get(key, 0) + 1
    table = Table("protocol", "state", "runs", box=None)
    for (name, state), count in sorted(counts.items()):
        table.add_row(escape(name), f"[{_STATE_STYLE.get(state, 'white')}]{state}[/]", str(count))
    console = Console()
    console.print(table)
    for standing in standings:
        if standing.note and standing.state != "interrupted":
            console.print(
                f"{standing.run_id}: {standing.state}: {standing.note}", markup=False, soft_wrap=True
            )


def show_runs(runs: Path, protocol: str | None, use: Sequence[Path]) -> None:
    from clntk.runs.runset import open_runs
    from clntk.stats.phrases import number

    opened = opened_runs(open_runs, runs, protocol, use).one_protocol()
    scalars = opened.scalars()
    wide = scalars.pivot(index="run", columns="measure", values="value")[
        list(dict.fromkeys(scalars["measure"]))
    ]
    console = Console()
    for run in opened:
        console.rule(escape(run.run_id), align="left")
        facts = run.provenance
        git = facts.get("git") or {}
        console.print(
            f"{run.path}\nfinished {facts['finished']} after {facts['steps']} steps in {facts['seconds']} s "
            f"on {facts['device']}; "
            f"clntk {facts['clntk']}, commit {str(git.get('commit'))[:10]}{' (dirty)' if git.get('dirty') else ''}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        table = Table("measure", "value", box=None)
        for measure, value in wide.loc[run.run_id].items():
            table.add_row(escape(str(measure)), number(value))
        console.print(table)


def analyze_runs(
    name: str,
    runs: Path,
    options: Sequence[str],
    protocol: str | None,
    out: Path | None,
    use: Sequence[Path],
) -> None:
    from clntk.analyze import analyze
    from clntk.protocol.load import written_out
    from clntk.runs.files import disk_errors
    from clntk.runs.runset import open_runs

    opened = opened_runs(open_runs, runs, protocol, use)
    answer = analyze(name, opened, **written_out(options, f"analysis {name}"))
    folder = out or _beside(runs)
    with disk_errors(folder, what="the results", option="--out"):
        paths = answer.save(folder, name)
    typer.echo(f"{answer.title}\n\n{answer.text}\n")
    for path in paths:
        typer.echo(str(path))


def write_starter(kind: str, name: str, out: Path) -> None:
    from clntk.starters.write import start

    component, test = start(kind, name, out)
    ways = {
        "protocol": f"clntk run {component}",
        "measure": f"clntk compare RUNS --use {component} -m {name}",
    }
    way = ways.get(kind, f"clntk run smoke stream.name={name} 'use=[{component.resolve()}]'")
    typer.echo(f"{component}\n{test}\n\nTry: {way}\nTest: python -m pytest {test}")


def compare_runs(
    runs: Path,
    measures: list[str] | None,
    protocol: str | None,
    out: Path | None,
    use: Sequence[Path],
    **how: Any,
) -> None:
    from clntk.runs.files import disk_errors
    from clntk.runs.runset import open_runs
    from clntk.stats.phrases import small_sample_note
    from clntk.stats.regimes import compare_regimes
    from clntk.stats.view import readable

    opened = opened_runs(open_runs, runs, protocol, use)
    comparison = compare_regimes(opened, measures, **how)
    shown = readable(comparison)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in shown.columns:
        table.add_column(
            str(column),
            no_wrap=True,
            justify="right" if column in ("n", "detectable") or column.startswith("p (") else "left",
        )
    shown["measure"] = shown["measure"].mask(shown["measure"] == shown["measure"].shift(), "")
    for row in shown.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    _wide_console().print(table)
    typer.echo(small_sample_note(comparison))
    path = (out or _beside(runs)) / "comparison.csv"
    with disk_errors(path.parent, what="the results", option="--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        comparison.to_csv(path, index=False)
    typer.echo(str(path))


def report_runs(
    runs: Path, protocol: str | None, out: Path | None, use: Sequence[Path], *, full: bool
) -> None:
    from clntk.report.page import write_report
    from clntk.runs.runset import open_runs

    opened = opened_runs(open_runs, runs, protocol, use)
    typer.echo(f"report: {write_report(opened, out or _beside(runs) / 'report.html', full=full)}")


def list_registered(kind: str | None, use: Sequence[Path]) -> None:
    from rich.text import Text

    from clntk.listing import heading, table

    for path in use:
        registry.use(path)
    console = _wide_console()
    kinds = ["protocol", *registry.KINDS]
    if kind is not None and kind not in kinds:
        raise UnknownName(
            f"no kind is called {kind!r}; {did_you_mean(kind, kinds)} known: {', '.join(kinds)}"
        )
    for each in [kind] if kind else kinds:
        meaning, common = heading(each)
        console.print(f"[bold]{each}[/]: {meaning}")
        if common:
            console.print(Text(f"every {each} takes: {common}", style="dim"))
        console.print(table(each))
        console.print()


def validate_protocol(protocol: str, overrides: list[str]) -> None:
    from clntk.protocol import expand, load
    from clntk.runs.preflight import preflight

    checked = load(protocol, overrides)
    specs = expand(checked)
    preflight(specs)
    typer.echo(
        f"{checked.name} is valid: {len(specs)} runs ({len(checked.regimes)} regimes, {len(checked.seed_list)} seeds"
        + (f", sweep over {', '.join(checked.sweep)}" if checked.sweep else "")
        + ")"
    )


def check_protocol_regimes(protocol: str, overrides: list[str], steps: int) -> None:
    from clntk.protocol import expand, load
    from clntk.runs.preflight import preflight
    from clntk.runs.regime_check import check_regimes
    from clntk.stats.phrases import number

    specs = expand(load(protocol, overrides))
    preflight(specs)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("regime", "steps", "training loss", "kernel distance", "linearisation error", "verdict"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("regime", "verdict") else "right")
    for place in check_regimes(specs, steps=steps):
        measured = (place.loss, place.kernel_distance, place.linearisation_error)
        table.add_row(escape(place.regime), str(place.steps), *map(number, measured), place.verdict)
    _wide_console().print(table)
    typer.echo(
        f"Seed {specs[0].seed}, first phase of training. The verdicts compare these regimes with one another alone, at "
        "training losses that may differ: for intervals over seeds, run the protocol."
    )


def print_schema(use: Sequence[Path]) -> None:
    from clntk.protocol.schema import json_schema

    for path in use:
        registry.use(path)
    typer.echo(json.dumps(json_schema(), indent=2))


def fetch_data(name: str, data_root: Path | None) -> None:
    from clntk.runs.files import disk_errors
    from clntk.streams.data.fetch import fetch
    from clntk.streams.data.part import data_folder

    with disk_errors(data_folder(data_root), what="the data root", option="--data-root"):
        folder = fetch(name, data_root)
    typer.echo(f"{name} is in {folder.resolve()}; protocols find it with stream.data_root={folder.resolve()}")


def _wide_console() -> Console:
    """A console that lets a table be as wide as it is where there is no terminal to fit into."""
    console = Console()
    return console if console.is_terminal else Console(width=1000)


def opened_runs(opener, runs: Path, protocol: str | None, use: Sequence[Path]):
    for path in use:
        registry.use(path)
    opened = opener(runs, protocol=protocol)
    if not len(opened) and not opened.others:
        raise StoreError(
            f"{runs}: expected runs, found an empty folder; run a protocol first (clntk run smoke --store {runs})"
        )
    return opened


def _beside(runs: Path) -> Path:
    """Where results on runs go: never into a published run."""
    folder = runs.resolve()
    single = (folder / "provenance.json").exists()
    return (folder.parent if single else folder) / "results"
