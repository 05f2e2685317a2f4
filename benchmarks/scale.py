"""Sweeps and stores at scale, each figure beside its bar: `make bench-scale`.

Parts: a store of many runs, the engine's overhead on cells that do nothing, a sweep on two workers beside one process,
a kernel by blocks on two workers that may take 2 GiB each.
Rounds are interleaved, and minima over rounds compared: machines are noisy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

PARTS = ["store", "cells", "sweep", "kernel"]
ROUNDS = 3
SWEEP_ROUNDS = 5  # of half a minute and more, in which a shared machine changes its pace
SWEEP = [
    "context_blobs",
    "regimes.third.name=standard",
    "regimes.fourth={name: init_scale, scale: 0.1}",
]
RUN = [sys.executable, "-m", "clntk.cli", "run"]


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
    """Sixteen runs of context_blobs, whole commands: in one process, on two workers, and by two processes that share
    nothing and have half of the runs each, which is what this machine gives."""
    seeds = {
        "in one process": ["seeds=4"],
        "on two workers": ["seeds=4"],
        "halves": ["seeds=[0,1]", "seeds=[2,3]"],
    }
    best = dict.fromkeys(seeds, float("inf"))
    for round_ in range(SWEEP_ROUNDS):
        for way, parts in seeds.items():
            workers = ["--workers", "2"] if way == "on two workers" else []
            commands = [
                [*RUN, *SWEEP, part, "--store", str(folder / f"{way}-{round_}-{i}"), *workers]
                for i, part in enumerate(parts)
            ]
            best[way] = min(best[way], _seconds(lambda commands=commands: _done(*commands)))
    for way, seconds in best.items():
        yield f"seconds {way}", seconds, None
    one, two, halves = best.values()
    yield "times as fast by two processes that share nothing", one / halves, None
    yield "times as fast on two workers (at least)", one / two, -1.8


def kernel(folder: Path, n: int) -> Iterator[tuple[str, float, float | None]]:
    """A kernel of n × n examples by blocks on two workers within 2 GiB each, some blocks of it computed again here.

    In double precision, as the same sums of single precision come out the same to the bit.
    """
    import numpy as np
    import torch

    import clntk

    torch.manual_seed(0)
    sizes = (784, 512, 512, 10)
    layers = [part for a, b in pairwise(sizes) for part in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    model, x, out = torch.nn.Sequential(*layers[:-1]), torch.randn(n, 784), folder / "kernel.zarr"
    how = {"engine": {"name": "dask", "workers": 2, "memory": "2GiB"}, "block_bytes": 64 * 2**20}
    with _peaks() as peaks:
        seconds = _seconds(lambda: clntk.empirical_ntk(model, x, mode="trace", out=out, **how))
    yield f"seconds for {n} × {n}", seconds, None
    yield "GB on disk", sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e9, None
    yield "GiB at most in a worker", max(peaks.values()) / 2**30, 2.0
    found, draw, exact = clntk.open_ntk(out), np.random.default_rng(0), deepcopy(model).double()
    off = []
    for _ in range(20):
        rows, columns = (slice(start, start + 200) for start in draw.integers(n - 200, size=2))
        direct = clntk.empirical_ntk(exact, x[rows].double(), x[columns].double(), mode="trace").numpy()
        block = found.isel(probe=rows, other_probe=columns).values
        off.append(np.abs(block - direct).max() / np.abs(direct).max())
    yield "largest relative difference in 20 blocks", float(np.max(off)), 1e-5  # NaN stays NaN


@contextmanager
def _peaks() -> Iterator[dict[int, int]]:
    """The most memory that each process below this one was seen to take, in bytes."""
    import psutil

    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    peaks[process.pid] = max(peaks.get(process.pid, 0), process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _done(*commands: list[str]) -> None:
    """Commands at once, to their ends."""
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"failed: {commands}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=", ".join(PARTS))
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=5_000)
    parser.add_argument("--examples", type=int, default=50_000)
    asked = parser.parse_args()
    shown = Table("part", "figure", "measured", "bar", "met", box=None)
    with tempfile.TemporaryDirectory(prefix="clntk-scale-") as folder:
        parts = {
            "store": lambda: store(Path(folder), asked.runs),
            "cells": lambda: cells(asked.cells),
            "sweep": lambda: sweep(Path(folder)),
            "kernel": lambda: kernel(Path(folder), asked.examples),
        }
        for part in asked.parts:
            for name, value, bar in parts[part]():
                met = "" if bar is None else "yes" if (value <= bar if bar > 0 else value >= -bar) else "NO"
                shown.add_row(part, name, f"{value:.3g}", "" if bar is None else f"{abs(bar):g}", met)
    Console(width=110).print(shown)


if __name__ == "__main__":
    main()
