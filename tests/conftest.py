"""Fixtures that many tests share."""

import atexit
import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis  # noqa: F401  before the collector is told to forget what is there
import pytest
import torch
import yaml

from clntk import registry
from clntk.seeding import Seeds
from clntk.streams.base import Phase, Split, Task, TaskStream, training_order

pytest_plugins = ["processes"]
gc.disable()  # until all is imported: the collector would walk through it again and again
atexit.register(gc.freeze)


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small networks are fastest on one thread, and sums come out the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def forget() -> Iterator[Callable[[], None]]:
    """What a test registers or loads goes; what clntk itself registered on the way stays.

    It can be called within the test, too: what comes then knows as little as another process.
    """
    back = _way_back()
    yield back
    back()


@pytest.fixture(scope="module", autouse=True)
def _forget_what_a_module_shares() -> Iterator[None]:
    """What its fixtures registered for several tests goes after the last of them."""
    back = _way_back()
    yield
    back()


def _way_back() -> Callable[[], None]:
    """To what is registered and loaded now."""
    return partial(_forget, dict(registry._entries), set(sys.modules))


def _forget(before: dict, modules: set[str]) -> None:
    if registry._entries != before:
        for key, entry in list(registry._entries.items()):
            if not entry.function.__module__.startswith(("clntk.", "clntk_shipped_")):
                del registry._entries[key]
        registry._entries.update(before)
    for name in sys.modules.keys() - modules:
        if name.startswith("clntk_used_"):
            del sys.modules[name]


@pytest.fixture
def seeds() -> Seeds:
    return Seeds(0)


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """A task of noisy class means, separable but not trivially."""

    def make(
        name: str = "task0",
        *,
        seed: int = 0,
        n: int = 50,
        features: int = 12,
        classes: int = 4,
        probes: int = 6,
    ) -> Task:
        g = torch.Generator().manual_seed(seed)
        means = torch.randn(4, features, generator=g)

        def split(size: int) -> Split:
            y = torch.arange(size) % 4
            return Split(means[y] + 0.7 * torch.randn(size, features, generator=g), y)

        return Task(name, split(50), split(24), split(probes))

    return make


@pytest.fixture(scope="session")
def make_stream(make_task: Callable[..., Task]) -> Callable[..., TaskStream]:
    """Three tasks of 50 examples and 4 classes, which do not divide into minibatches of 16."""

    def make(
        n_tasks: int = 3,
        *,
        schedule: str = "blocked",
        phases: tuple[Phase, ...] | None = None,
        **options: Any,
    ) -> TaskStream:
        tasks = tuple(make_task(f"task{t}", seed=t, **options) for t in range(n_tasks))
        order = training_order([task.name for task in tasks], schedule) if phases is None else phases
        return TaskStream(tasks, order, outputs=4, chance=0.25)

    return make


@pytest.fixture(scope="session")
def stream(make_stream: Callable[..., TaskStream]) -> TaskStream:
    return make_stream()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., torch.nn.Module]:
    """The same small network each time it is asked for."""

    def make(stream: TaskStream, *, seed: int = 0, **options: Any) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return registry.get("model", "mlp")(stream.shape, **{"width": 16, "depth": 1, **options})

    return make


@pytest.fixture(scope="session")
def make_learner(make_model: Callable[..., torch.nn.Module]) -> Callable[..., Any]:
    """A learner with momentum, freshly seeded; the same each time it is asked for."""

    def make(
        stream: TaskStream, name: str = "naive", *, plugins: tuple = (), lr_scale: float = 1.0, **options: Any
    ) -> Any:
        from clntk.strategies.learner import Setup

        setup = Setup(make_model(stream), stream, lr_scale=lr_scale, plugins=plugins)
        options = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9, **options}
        learner = registry.get("strategy", name)(setup, **options)
        torch.manual_seed(1)
        return learner

    return make


@pytest.fixture(scope="session")
def weights_of() -> Callable[[torch.nn.Module], list[torch.Tensor]]:
    return lambda model: [p.detach().clone() for p in model.parameters()]


@pytest.fixture(scope="session")
def same() -> Callable[[list[torch.Tensor], list[torch.Tensor]], bool]:
    """Whether two lists of tensors agree bit for bit."""
    return lambda a, b: len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="session")
def smoke_runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped smoke protocol, run once in each test process; published runs are never edited, so share them."""
    import clntk

    return clntk.run("smoke", store=tmp_path_factory.mktemp("smoke"))


@pytest.fixture
def smoke_copy(smoke_runs: Any, tmp_path: Path) -> Path:
    """A copy of the smoke protocol's store, to break."""
    return Path(shutil.copytree(smoke_runs.root, tmp_path / "runs"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command line in this process, through its entry point: exit status, what it printed, what it complained of.

    An exception that the command line would show as a traceback is raised.
    """
    from clntk.cli import main

    def run(*arguments: object) -> SimpleNamespace:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["clntk", *map(str, arguments)])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # Typer sets its own
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return run


@pytest.fixture(scope="session")
def write_protocol() -> Callable[..., Path]:
    """A protocol file of four units on two contexts, which trains in an instant; keys given replace its own."""

    def write(folder: Path, name: str = "small", **keys: Any) -> Path:
        protocol = {
            "summary": "the smallest run that has all parts",
            "stream": {"name": "context_blobs"},
            "model": {"name": "mlp", "width": 4, "depth": 1},
            "strategy": {"name": "naive", "epochs": 2, "batch_size": 10, "lr": 0.05, "momentum": 0.9},
            "regimes": {"plain": {"name": "standard"}},
            "measures": ["average_accuracy", "kernel_distance"],
            **keys,
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(protocol, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def differences() -> Callable[[Path, Path], list[str]]:
    """The parts of two published runs that differ in any bit, but for the record of when and how they were made."""
    import pandas as pd
    import xarray as xr

    def same_facts(a: Path, b: Path) -> bool:
        if a.read_bytes() == b.read_bytes():
            return True
        with xr.open_datatree(a, engine="netcdf4") as x, xr.open_datatree(b, engine="netcdf4") as y:
            return x.identical(y) and len(x.leaves) > 3

    def differ(a: Path, b: Path) -> list[str]:
        files = {p.relative_to(a) for p in a.rglob("*")} ^ {p.relative_to(b) for p in b.rglob("*")}
        out = [f"only in one: {path}" for path in sorted(files)]
        out += [] if same_facts(a / "facts.nc", b / "facts.nc") else ["facts.nc"]
        tables = [pd.read_parquet(run / "metrics.parquet") for run in (a, b)]
        out += [] if tables[0].equals(tables[1]) and len(tables[0]) else ["metrics.parquet"]
        for path in [*sorted(a.glob("weights/*")), a / "spec.yaml", a / "log.txt"]:
            name = path.relative_to(a)
            out += [] if path.read_bytes() == (b / name).read_bytes() else [str(name)]
        return out

    return differ
