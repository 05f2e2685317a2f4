"""The commands that look after a store: doctor and reproduce."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from clntk import python_files
from clntk.terminal.text import inert, say


def examine_store(root: Path, *, mend: bool) -> None:
    from clntk.runs.doctor import examine, repair

    found = repair(root) if mend else list(examine(root))
    if not found:
        say(f"{root}: nothing is wrong; every file of every run is what was published")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("where", "what is wrong", "what was done" if mend else "what --repair does"):
        table.add_column(column, overflow="fold")
    for finding in found:
        table.add_row(*(inert(text) for text in (finding.path, finding.what, finding.remedy)))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
    damaged = len({finding.path for finding in found if finding.damaged})
    if mend:
        say(f"{damaged} moved to {root / '.damaged'}; clntk resume {root} computes anew what can be")
    elif damaged:
        say(f"{damaged} damaged; clntk doctor {root} --repair moves them aside", err=True)
        raise typer.Exit(1)


def reproduce_run(path: Path, store: Path | None, use: Sequence[Path]) -> None:
    from clntk.runs.reproduce import reproduce

    for file in use:
        python_files.use(file)
    found = reproduce(path, store=store)
    for name, (before, now) in found.circumstances.items():
        say(f"{name}: {before} when it was published, {now} now")
    if found.equal:
        say(f"{found.run_id}: equal, to the bit")
        return
    for difference in found.differences:
        say(str(difference))
    say(f"{found.run_id}: {len(found.differences)} facts differ", err=True)
    raise typer.Exit(1)
