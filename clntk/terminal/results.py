"""What the commands on finished runs do: public functions, and their results on the terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from clntk import python_files
from clntk.errors import StoreError
from clntk.terminal.text import inert, say, wide_console
from clntk.text_files import csv_text

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

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
        table.add_row(inert(name), f"[{_STATE_STYLE.get(state, 'white')}]{state}[/]", str(count))
    Console().print(table)
    for standing in standings:
        if standing.note and standing.state != "interrupted":
            say(f"{standing.run_id}: {standing.state}: {standing.note}")


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
        console.rule(inert(run.run_id), align="left")
        facts = run.provenance
        git = facts.get("git") or {}
        changed = " (dirty)" if git.get("dirty") else ""
        say(
            f"{run.path}\nfinished {facts['finished']} after {facts['steps']} steps in {facts['seconds']} s "
            f"on {facts['device']}; clntk {facts['clntk']}, commit {str(git.get('commit'))[:10]}{changed}"
        )
        table = Table("measure", "value", box=None)
        for measure, value in wide.loc[run.run_id].items():
            table.add_row(inert(measure), number(value))
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
    with watched(opened):
        answer = analyze(name, opened, **written_out(options, f"analysis {name}"))
    folder = out or _beside(runs)
    with disk_errors(folder, what="the results", option="--out"):
        paths = answer.save(folder, name)
    say(f"{answer.title}\n\n{answer.text}\n")
    for path in paths:
        say(str(path))


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
    with watched(opened):
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
        table.add_row(*(inert(cell) for cell in row))
    wide_console().print(table)
    say(small_sample_note(comparison))
    path = (out or _beside(runs)) / "comparison.csv"
    with disk_errors(path.parent, what="the results", option="--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(csv_text(comparison), encoding="utf-8")
    say(str(path))


def report_runs(
    stores: Sequence[Path], protocol: str | None, out: Path | None, use: Sequence[Path], *, full: bool
) -> None:
    from clntk.report.page import write_report
    from clntk.report.stores import write_comparison
    from clntk.runs.runset import open_runs

    opened = {
        name: opened_runs(open_runs, path, protocol, use)
        for name, path in zip(_names(stores), stores, strict=True)
    }
    folder = _beside(stores[0])
    with watched(*opened.values()):
        if len(opened) == 1:
            (runs,) = opened.values()
            page = write_report(runs, out or folder / "report.html", full=full)
        else:
            page = write_comparison(opened, out or folder / "comparison.html", full=full)
    say(f"report: {page}")


def _names(stores: Sequence[Path]) -> list[str]:
    """What tells the stores apart: their paths, without the folders that all lie in."""
    parts = [path.resolve().parts for path in stores]
    if len(set(parts)) < len(parts):
        raise StoreError(f"expected different stores, found {', '.join(map(str, stores))}")
    shared = next((i for i, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), 0)
    return ["/".join(part[shared:]) or part[-1] for part in parts]


def _beside(runs: Path) -> Path:
    """Where results on runs go: never into a published run."""
    folder = runs.resolve()
    single = (folder / "provenance.json").exists()
    return (folder.parent if single else folder) / "results"


@contextmanager
def watched(*sets: "RunSet") -> Iterator[None]:
    """Show how many of these runs are measured while they are; on standard error, apart from what comes of it."""
    from clntk.terminal.progress import measuring

    with measuring(Console(stderr=True)) as watch:
        for runs in sets:
            runs.watch = watch
        yield


def opened_runs(opener, runs: Path, protocol: str | None, use: Sequence[Path]):
    for path in use:
        python_files.use(path)
    opened = opener(runs, protocol=protocol)
    if not len(opened) and not opened.others:
        raise StoreError(
            f"{runs}: expected runs, found an empty folder; run a protocol first (clntk run smoke --store {runs})"
        )
    return opened
