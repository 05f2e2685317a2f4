"""One page on published results: all protocols that are held against some, with what was measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from clntk import python_files, registry
from clntk.analyze import analyze
from clntk.engine import Engine, Lost, Message, Tell
from clntk.errors import ClntkError
from clntk.protocol.spec import RunSpec
from clntk.report.render import rendered, written
from clntk.report.sections import Section, of_answer
from clntk.stats.phrases import bounded, number
from clntk.stats.replication import count, told_verdict, tolerance
from clntk.text_files import csv_text

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet, Watch


@dataclass(frozen=True)
class Part:
    """One protocol on the page: a spec of its runs, how many they are, the results, and what is shown of them."""

    spec: RunSpec
    n_runs: int
    table: pd.DataFrame
    section: Section


def write_replications(
    sets: Iterable["RunSet"], path: str | Path, engine: Engine, watch: "Watch"
) -> tuple[Path, pd.DataFrame]:
    """Write the page of published results, and the table in it as CSV beside it.

    Args:
        sets: the runs of each protocol; those that are not held against published results are left out.
        path: the file to write; its folder is made if need be.
        engine: measures the runs of a protocol as one cell.
        watch: told of how many runs, and of how many, are measured.

    Returns:
        The page's absolute path, and the table: of :func:`clntk.stats.replication.replicated`, with the protocol.

    Raises:
        StoreError: if the disk refuses.
        ClntkError: if no protocol is held against published results.
    """
    parts = _parts([runs for runs in sets if runs.published], engine, watch)
    if not parts:
        raise ClntkError(
            "replications: expected runs of protocols that are held against published results, found none"
        )
    table = pd.concat([part.table for part in parts], ignore_index=True)
    page = rendered(
        "replications.html.j2",
        charts=False,
        rows=[told(row) for _, row in table.iterrows()],
        count=count(table),
        protocols=parts,
    )
    page_path = written(page, path)
    written(csv_text(table), page_path.with_suffix(".csv"))
    return page_path, table


def _parts(sets: list["RunSet"], engine: Engine, watch: "Watch") -> list[Part]:
    """The parts in the order of the sets; the engine begins with the largest."""
    total, done = sum(map(len, sets)), 0
    parts: dict[str, Part] = {}
    work = partial(_part, use=python_files.used())
    for result in engine.map(work, sorted(sets, key=len, reverse=True), _unheard):
        part = work(result.cell, _unheard) if isinstance(result, Lost) else result
        parts[part.spec.protocol] = part
        done += part.n_runs
        watch("published results", done, total)
    return [parts[protocol] for runs in sets for protocol in runs.protocols]


def _part(runs: "RunSet", tell: Tell, *, use: Sequence[Path]) -> Part:
    """The part on the runs of one protocol, wherever an engine calls this.

    Args:
        runs: them.
        tell: not told of anything.
        use: files of components that were loaded where the command was given.
    """
    for path in use:
        python_files.use(path)
    registry.names("analysis")  # found before the first is asked for, which may take a while
    answer = analyze("replication", runs)
    (protocol,) = runs.protocols
    section = of_answer(protocol, answer, runs)
    return Part(next(iter(runs)).spec, len(runs), answer.table.assign(protocol=protocol), section)


def _unheard(message: Message) -> None:
    """Parts say nothing on their way."""


def told(row: pd.Series) -> dict[str, str]:
    """A row as people read it."""
    spread = f" ± {number(row['sd'])}" if row["n"] > 1 else ""
    return {
        "protocol": row["protocol"],
        "claim": row["claim"],
        "published": row["published"],
        "measured": f"{number(row['mean'])}{spread}",
        "interval": bounded(row["mean"], row["low"], row["high"]).partition(" ")[2],
        "n": str(row["n"]),
        "tolerance": tolerance(row["least"], row["most"]),
        "verdict": told_verdict(row),
    }
