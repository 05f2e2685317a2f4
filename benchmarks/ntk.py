"""The empirical NTK beside its peers: speed in one run, interleaved, minima over rounds, values compared.

    python benchmarks/ntk.py [--rounds 5] [--neural-tangents PYTHON] [--out benchmarks/results] [--only NAME]

Peers: torch.func (Jacobian contraction), nngeometry (`pip install 'clntk[ref]'`), and neural-tangents in an
environment of its own, whose Python is named. The limit is the least number of operations that our algorithm could
do (the passes, and half of each symmetric product) at the speed of a large matrix product measured between the rounds.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import peers
import torch
from cases import CASES, LARGEST, SIZES, Case, mlp
from neural_tangents import NeuralTangents
from show import draw, markdown
from torch import Tensor, nn

import clntk

Timed = Callable[[], float]
GEMM = 2048


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def runners_of(
    model: nn.Module, x: Tensor, mode: str, wanted: list[str], python: Path | None
) -> Iterator[dict[str, tuple[Timed, Callable[[], Tensor]]]]:
    """Name → how to time a round, and how to have its values."""
    here = {"clntk": peers.ours, "torch.func": peers.torch_func, "nngeometry": peers.nngeometry}
    found = {
        name: ((lambda f=f: timed(lambda: f(model, x, mode))), (lambda f=f: f(model, x, mode)))
        for name, f in here.items()
        if name in ("clntk", *wanted)
    }
    if "neural-tangents" not in wanted or python is None:
        yield found
        return
    with NeuralTangents(python, model, x, mode) as process:
        yield found | {"neural-tangents": (process.seconds, process.kernel)}


def race(runners: dict[str, tuple[Timed, Callable[[], Tensor]]], rounds: int) -> pd.DataFrame:
    """Seconds (minima over interleaved rounds, after one to warm up), and differences from our values."""
    values = {name: value() for name, (_, value) in runners.items()}
    first = next(iter(values.values()))
    differences = {name: float((v - first).norm() / first.norm()) for name, v in values.items()}
    del values, first
    a = torch.randn(GEMM, GEMM)
    clocks = {name: clock for name, (clock, _) in runners.items()} | {"product": lambda: timed(lambda: a @ a)}
    seconds = {name: min(each) for name, each in _interleaved(clocks, rounds).items()}
    table = pd.DataFrame({"seconds": seconds, "difference": differences})
    table.attrs["speed"] = 2 * GEMM**3 / seconds["product"]
    return table.drop(index="product")


def _interleaved(clocks: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(rounds):
        for name, clock in clocks.items():
            found[name].append(clock())
    return found


def case_rows(case: Case, rounds: int, python: Path | None) -> pd.DataFrame:
    torch.manual_seed(0)
    model, x = case.make(), torch.randn(*case.shape)
    flops = clntk.ntk_plan(model, x, mode=case.mode).flops
    with runners_of(model, x, case.mode, list(case.bars), python) as runners:
        table = race(runners, rounds)
    limit = flops / table.attrs["speed"]
    rows = pd.DataFrame(
        {
            "case": case.name,
            "mode": case.mode,
            "by": table.index,
            "seconds": table["seconds"].to_numpy(),
            "times ours": (table["seconds"] / table.loc["clntk", "seconds"]).to_numpy(),
            "times the limit": (table["seconds"] / limit).to_numpy(),
            "difference": table["difference"].to_numpy(),
        }
    )
    rows["bar"] = [_bar(case, name) for name in table.index]
    return rows


def _bar(case: Case, name: str) -> str:
    if name == "clntk":
        return "" if case.limit is None else f"≤ {case.limit:g} times the limit"
    return f"≥ {case.bars[name]:g} times ours" if case.bars[name] else ""


def product_rows(rounds: int) -> pd.DataFrame:
    """A product with a vector, without the kernel."""
    torch.manual_seed(0)
    model, x = mlp(), torch.randn(1000, 784)
    operator, v = clntk.ntk_operator(model, x), torch.randn(10_000)
    calls = {
        "clntk": lambda: operator.matvec(v),
        "torch.func": lambda: peers.torch_func_product(model, x, v),
    }
    runners = {name: ((lambda f=f: timed(f)), f) for name, f in calls.items()}
    table = race(runners, rounds)
    rows = table.reset_index(names="by").assign(case="MLP, N=1000", mode="product with a vector", bar="")
    rows["times ours"] = rows["seconds"] / rows["seconds"].iloc[0]
    rows.loc[1, "bar"] = "≥ 1.5 times ours"
    return rows


def size_rows(rounds: int, python: Path | None) -> pd.DataFrame:
    """Time against examples, for the figure."""
    found = []
    for n in SIZES:
        wanted = {
            name: 0.0 for name in ("torch.func", "nngeometry", "neural-tangents") if n <= LARGEST.get(name, n)
        }
        rows = case_rows(Case("MLP", mlp, (n, 784), "full", wanted), rounds, python)
        print(f"N = {n}: " + ", ".join(f"{r.by} {r.seconds:.3g} s" for r in rows.itertuples()), flush=True)
        found.append(rows.assign(examples=n))
    return pd.concat(found, ignore_index=True)


def peak_bytes(n: int) -> int:
    """Peak resident memory of a process that computes the full kernel of the MLP on n examples."""
    command = [sys.executable, __file__, "--peak-of", str(n)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(n: int) -> None:
    clntk.empirical_ntk(mlp(), torch.randn(n, 784))
    status = Path("/proc/self/status").read_text()  # rusage would count what the parent held before
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--neural-tangents", type=Path, help="the Python of an environment that holds it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", default="", help="cases whose name holds this, and no figure")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        return print_peak(options.peak_of)
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    for case in CASES:
        if options.only in case.name:
            found.append(case_rows(case, options.rounds, options.neural_tangents))
            print(found[-1].to_string(index=False), flush=True)
    if options.only in "product":
        found.append(product_rows(options.rounds))
    table = pd.concat(found, ignore_index=True)
    table.to_csv(options.out / "ntk.csv", index=False)
    (options.out / "ntk.md").write_text(markdown(table))
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}\n{table.to_string(index=False)}")
    if options.only:
        return None
    kernel, peak, little = (1000 * 10) ** 2 * 4, peak_bytes(1000), peak_bytes(2)
    print(f"peak memory at N=1000: {peak / kernel:.2f} kernels, {(peak - little) / kernel:.2f} above N=2")
    sizes = size_rows(options.rounds, options.neural_tangents)
    sizes.to_csv(options.out / "ntk_sizes.csv", index=False)
    draw(sizes, options.out / "ntk.png")
    return None


if __name__ == "__main__":
    main()
