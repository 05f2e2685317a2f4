"""One page on published results: all protocols that are held against some, with what was measured."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from clntk import registry
from clntk.analyze import analyze
from clntk.errors import ClntkError
from clntk.report.render import rendered, written
from clntk.report.sections import of_answer
from clntk.stats.phrases import bounded, number
from clntk.stats.replication import count, told_verdict, tolerance
from clntk.text_files import csv_text

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


def write_replications(sets: Iterable["RunSet"], path: str | Path) -> tuple[Path, pd.DataFrame]:
    """Write the page of published results, and the table in it as CSV beside it.

    Args:
        sets: the runs of each protocol; those that are not held against published results are left out.
        path: the file to write; its folder is made if need be.

    Returns:
        The page's absolute path, and the table: of :func:`clntk.stats.replication.replicated`, with the protocol.

    Raises:
        StoreError: if the disk refuses.
        ClntkError: if no protocol is held against published results.
    """
    registry.names("analysis")  # found before the first is asked for, which may take a while
    tables, parts = [], []
    for runs in sets:
        if runs.published:
            answer = analyze("replication", runs)
            (protocol,) = runs.protocols
            tables.append(answer.table.assign(protocol=protocol))
            parts.append((next(iter(runs)).spec, of_answer(protocol, answer, runs)))
    if not tables:
        raise ClntkError(
            "replications: expected runs of protocols that are held against published results, found none"
        )
    table = pd.concat(tables, ignore_index=True)
    page = rendered(
        "replications.html.j2",
        charts=False,
        rows=[told(row) for _, row in table.iterrows()],
        count=count(table),
        sections=parts,
    )
    page_path = written(page, path)
    written(csv_text(table), page_path.with_suffix(".csv"))
    return page_path, table


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
