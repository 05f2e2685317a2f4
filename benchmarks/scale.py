"""Sweeps and stores at scale, each figure beside its bar: `make bench-scale`.

Parts: a store of many runs, the engine's overhead on cells that do nothing, a sweep on two workers beside one process.
Rounds are interleaved, and minima over rounds compared: machines are noisy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROUNDS = 3
SWEEP = [
    "context_blobs",
    "regimes.third.name=standard",
    "regimes.fourth={name: init_scale, scale: 0.1}",
    "seeds=4",
]


def store(folder: Path, n: int) -> Iterator[tuple[str, float, float | None]]:
    """A store of many simulated runs: copies of one, with specs and seeds of their own."""
    import clntk

    root = folder / "store"
    run = clntk.run("smoke", ["seeds=1"], store=folder / "one").runs[0]
    for seed in range(n):
        _simulated(run, root, seed)
    yield "table, first time (the index is made)", _seconds(lambda: clntk.open_runs(root).table), None
    yield "table", min(_seconds(lambda: clntk.open_runs(root).table) for _ in range(ROUNDS)), 2.0
    command = [sys.executable, "-m", "clntk.cli", "status", str(root)]
    yield "status, the whole command", min(_seconds(lambda: _done(command)) for _ in range(ROUNDS)), 3.0


def _simulated(run, root: Path, seed: int) -> None:
    from clntk.runs.files import sha256, write_yaml

    spec = replace(run.spec, seed=seed)
    target = root / spec.run_id
    (target / "weights").mkdir(parents=True)
    provenance = json.loads((run.path / "provenance.json").read_text())
    for name in provenance["files"]:
        os.link(run.path / name, target / name)
    (target / "spec.yaml").unlink()
    write_yaml(target / "spec.yaml", spec.as_dict())
    facts = {"bytes": (target / "spec.yaml").stat().st_size, "sha256": sha256(target / "spec.yaml")}
    provenance["files"]["spec.yaml"], provenance["run"] = facts, spec.run_id
    (target / "provenance.json").write_text(json.dumps(provenance))


def cells(n: int) -> Iterator[tuple[str, float, float | None]]:
    """What Dask costs a cell that does nothing, once its workers run."""
    from clntk import registry

    engine = registry.get("engine", "dask")(workers=2)
    try:
        list(engine.map(_nothing, range(2), print))
        seconds = min(_seconds(lambda: list(engine.map(_nothing, range(n), print))) for _ in range(ROUNDS))
    finally:
        engine.close()
    yield f"milliseconds a cell, of {n}", 1000 * seconds / n, 10.0


def _nothing(cell: int, tell: Callable) -> int:
    return cell


def sweep(folder: Path) -> Iterator[tuple[str, float, float | None]]:
    """Sixteen runs of context_blobs, whole commands: in one process, and on two workers."""
    ways = {"in one process": [], "on two workers": ["--workers", "2"]}
    best = dict.fromkeys(ways, float("inf"))
    for round_ in range(ROUNDS):
        for way, options in ways.items():
            where = folder / f"{way}-{round_}"
            command = [sys.executable, "-m", "clntk.cli", "run", *SWEEP, "--store", str(where), *options]
            best[way] = min(best[way], _seconds(lambda command=command: _done(command)))
    for way, seconds in best.items():
        yield f"seconds {way}", seconds, None
    one, two = best.values()
    yield "times as fast on two workers (at least)", one / two, -1.8


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _done(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["store", "cells", "sweep"], help="store, cells, sweep")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=5_000)
    asked = parser.parse_args()
    shown = Table("part", "figure", "measured", "bar", "met", box=None)
    with tempfile.TemporaryDirectory(prefix="clntk-scale-") as folder:
        parts = {
            "store": lambda: store(Path(folder), asked.runs),
            "cells": lambda: cells(asked.cells),
            "sweep": lambda: sweep(Path(folder)),
        }
        for part in asked.parts:
            for name, value, bar in parts[part]():
                met = "" if bar is None else "yes" if (value <= bar if bar > 0 else value >= -bar) else "NO"
                shown.add_row(part, name, f"{value:.3g}", "" if bar is None else f"{abs(bar):g}", met)
    Console(width=110).print(shown)


if __name__ == "__main__":
    main()
