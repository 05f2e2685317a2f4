"""The commands on components and protocols: what there is, what fits, and starters for one's own."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from clntk import python_files
from clntk.component import KINDS
from clntk.errors import UnknownName, did_you_mean
from clntk.terminal.text import inert, say, wide_console


def write_starter(kind: str, name: str, out: Path) -> None:
    from clntk.starters.write import start

    component, test = start(kind, name, out)
    ways = {
        "protocol": f"clntk run {component}",
        "measure": f"clntk compare RUNS --use {component} -m {name}",
    }
    way = ways.get(kind, f"clntk run smoke stream.name={name} 'use=[{component.resolve()}]'")
    say(f"{component}\n{test}\n\nTry: {way}\nTest: python -m pytest {test}")


def list_registered(kind: str | None, use: Sequence[Path]) -> None:
    from clntk.terminal.listing import heading, table

    for path in use:
        python_files.use(path)
    console = wide_console()
    kinds = ["protocol", *KINDS]
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
    say(
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
        table.add_row(inert(place.regime), str(place.steps), *map(number, measured), place.verdict)
    wide_console().print(table)
    say(
        f"Seed {specs[0].seed}, first phase of training. The verdicts compare these regimes with one another alone, at "
        "training losses that may differ: for intervals over seeds, run the protocol."
    )


def print_schema(use: Sequence[Path]) -> None:
    from clntk.protocol.schema import json_schema

    for path in use:
        python_files.use(path)
    say(json.dumps(json_schema(), indent=2))


def fetch_data(name: str, data_root: Path | None) -> None:
    from clntk.runs.files import disk_errors
    from clntk.streams.data.fetch import fetch
    from clntk.streams.data.part import data_folder

    with disk_errors(data_folder(data_root), what="the data root", option="--data-root"):
        folder = fetch(name, data_root)
    say(f"{name} is in {folder.resolve()}; protocols find it with stream.data_root={folder.resolve()}")
