"""Training beside a hand-written loop and stock Avalanche: one run, interleaved, minima over rounds, weights compared.

    python benchmarks/training.py [--rounds 7] [--seeds 20] [--out benchmarks/results]

Every trainer gets the same network, data and order of minibatches. *With metrics*: the loss and accuracy of training,
by Avalanche's own metrics there, and here by the watch that every run of clntk has. At the end, runs of
``context_blobs`` one by one and together.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import Tensor, nn
from torch.nn import functional

import clntk
from clntk import registry
from clntk.runs.torch_state import steady_torch
from clntk.seeding import Seeds
from clntk.strategies.avalanche.watch import StepWatch
from clntk.strategies.learner import Learner, Setup
from clntk.streams.base import TaskStream

Trained = tuple[float, int, list[Tensor]]  # seconds, steps, weights
LR, BATCH = 0.05, 32


@dataclass(frozen=True)
class Case:
    """A network and data, and how many times the hand-written loop's time ours may take."""

    name: str
    stream: TaskStream
    width: int
    depth: int
    epochs: int
    plain: float
    with_metrics: float | None

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return registry.get("model", "mlp")(self.stream.shape, width=self.width, depth=self.depth)


def cases() -> list[Case]:
    digits = registry.get("stream", "permuted_digits")(Seeds(0), n_tasks=5)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2000, 784, generator=g), torch.randint(10, (2, 2000), generator=g)
    large = clntk.stream_from([((a, b), (a[:200], b[:200])) for a, b in zip(x, y, strict=True)], outputs=10)
    return [
        Case("64-100-10", digits, 100, 1, 10, 1.15, 1.35),
        Case("784-512-512-10", large, 512, 2, 2, 1.05, None),
    ]


def by_hand(case: Case) -> Trained:
    model, data = case.model(), case.stream.tasks[0].train
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    torch.manual_seed(1)
    start, steps = time.perf_counter(), 0
    for _ in range(case.epochs):
        torch.empty((), dtype=torch.int64).random_()  # a data loader's base seed, then that of its order
        generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        for index in torch.randperm(len(data), generator=generator).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(data.x[index]), data.y[index]).backward()
            optimizer.step()
            steps += 1
    return time.perf_counter() - start, steps, list(model.parameters())


def learner_of(case: Case, *, watched: bool) -> Learner:
    plugins = [StepWatch(case.stream)] if watched else []
    setup = Setup(case.model(), case.stream, plugins=plugins)
    return registry.get("strategy", "naive")(setup, epochs=case.epochs, lr=LR, batch_size=BATCH)


def by_clntk(case: Case, *, watched: bool) -> Trained:
    learner = learner_of(case, watched=watched)
    torch.manual_seed(1)
    start = time.perf_counter()
    learner.train(case.stream.phases[0])
    return time.perf_counter() - start, learner.steps, list(learner.model.parameters())


def by_avalanche(case: Case, *, watched: bool) -> Trained:
    model = case.model()
    metrics = [accuracy_metrics(epoch=True), loss_metrics(epoch=True)] if watched else []
    stock = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=LR),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=case.epochs,
        evaluator=EvaluationPlugin(*metrics),
    )
    torch.manual_seed(1)
    start = time.perf_counter()
    stock.train(case.stream.benchmark.train_stream[0], eval_streams=[])
    return time.perf_counter() - start, stock.clock.train_iterations, list(model.parameters())


TRAINERS: dict[str, Callable[[Case], Trained]] = {
    "by hand": by_hand,
    "clntk": partial(by_clntk, watched=False),
    "clntk, with metrics": partial(by_clntk, watched=True),
    "Avalanche": partial(by_avalanche, watched=False),
    "Avalanche, with metrics": partial(by_avalanche, watched=True),
}


def training_rows(case: Case, rounds: int) -> pd.DataFrame:
    """Microseconds a step, and whether the weights are those of the hand-written loop, bit for bit."""
    found: dict[str, list[Trained]] = {name: [] for name in TRAINERS}
    for _ in range(rounds):
        for name, train in TRAINERS.items():
            found[name].append(train(case))
    hand = found["by hand"][0][2]
    bars = {"clntk": case.plain, "clntk, with metrics": case.with_metrics}
    rows = [
        {
            "case": case.name,
            "by": name,
            "µs": min(seconds / steps for seconds, steps, _ in each) * 1e6,
            "same bits": all(torch.equal(a, b) for *_, w in each for a, b in zip(w, hand, strict=True)),
            "bar": bars.get(name),
        }
        for name, each in found.items()
    ]
    return _relative(pd.DataFrame(rows))


def evaluation_rows(case: Case, rounds: int) -> pd.DataFrame:
    """Loss and accuracy on the test sets of all tasks, beside a hand-made batch of all of them."""
    learner = learner_of(case, watched=False)
    tests = [task.test for task in case.stream.tasks]
    x, y = torch.cat([t.x for t in tests]), torch.cat([t.y for t in tests])

    def hand() -> None:
        with torch.no_grad():
            f = learner.model(x)
            functional.cross_entropy(f, y).item()
            (f.argmax(1) == y).float().mean().item()

    def ours() -> None:
        for t, test in enumerate(tests):
            learner.evaluate(test, t)

    found: dict[str, list[float]] = {"by hand": [], "clntk": []}
    for _ in range(10 * rounds):
        for name, work in (("by hand", hand), ("clntk", ours)):
            start = time.perf_counter()
            work()
            found[name].append(time.perf_counter() - start)
    rows = [
        {"case": f"{case.name}, all tasks judged", "by": name, "µs": min(each) * 1e6, "bar": bar}
        for (name, each), bar in zip(found.items(), (None, 3.0), strict=True)
    ]
    return _relative(pd.DataFrame(rows))


def _relative(rows: pd.DataFrame) -> pd.DataFrame:
    """With the time over that by hand, which the bar bounds."""
    rows.insert(3, "times by hand", rows["µs"] / rows["µs"].iloc[0])
    return rows


def together_rows(seeds: int, rounds: int) -> pd.DataFrame:
    """Whole runs of context_blobs, capture and store included, one by one and together."""
    found: dict[bool, list[float]] = {False: [], True: []}
    weights: dict[bool, dict] = {}
    for _ in range(rounds):
        for together, each in found.items():
            with tempfile.TemporaryDirectory() as store:
                start = time.perf_counter()
                runs = clntk.run("context_blobs", [f"seeds={seeds}"], store=store, together=together)
                each.append(time.perf_counter() - start)
                weights[together] = {run.run_id: run.fact("weights") for run in runs}
    farthest = max(
        float(abs(weights[True][run][name] - values).max())
        for run, tensors in weights[False].items()
        for name, values in tensors.items()
    )
    alone, shared = (min(each) for each in found.values())
    return pd.DataFrame(
        [
            {"runs": 2 * seeds, "one by one, s": alone, "together, s": shared},
        ]
    ).assign(**{"times faster": alone / shared, "bar": 4.0, "largest difference of a weight": farthest})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=20, help="of context_blobs; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", "No loggers specified", UserWarning)
    with steady_torch():
        parts = [rows(case, options.rounds) for case in cases() for rows in (training_rows, evaluation_rows)]
        table = pd.concat(parts, ignore_index=True)
        table.to_csv(options.out / "training.csv", index=False)
        print(
            f"1 thread, torch {torch.__version__}\n{table.round(3).to_string(index=False, na_rep='')}",
            flush=True,
        )
        if options.seeds:
            together = together_rows(options.seeds, rounds=1)
            together.to_csv(options.out / "together.csv", index=False)
            print(together.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
