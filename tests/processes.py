"""Fixtures for tests with real processes, that are killed and interrupted."""

import subprocess
import sys
import time

import pytest

import clntk
from clntk.protocol import expand, load
from clntk.runs.store import RunStore

STREAM = {"name": "permuted_digits", "n_tasks": 4, "n_probe": 4}
PATIENCE = 120  # seconds until a process that does not get on is a failure


@pytest.fixture(scope="session")
def long_protocol(write_protocol, tmp_path_factory):
    """Four tasks of a third of a second each, with momentum: first without, then with a memory."""
    options = {"name": "naive", "epochs": 18, "batch_size": 32, "lr": 0.02, "momentum": 0.9}
    folder = tmp_path_factory.mktemp("long")
    return write_protocol(
        folder, "long", stream=STREAM, strategy=options, sweep={"strategy.name": ["naive", "replay"]}
    )


@pytest.fixture(scope="session")
def naive_and_replay(long_protocol):
    return expand(load(long_protocol))


@pytest.fixture(scope="session")
def whole(long_protocol, tmp_path_factory):
    """The store as it comes out where nothing disturbs it."""
    return clntk.run(long_protocol, store=tmp_path_factory.mktemp("whole")).root


@pytest.fixture
def begin(tmp_path):
    """Starts a process of its own; whatever still runs at the end is killed."""
    started = []

    def start(*command, **options):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
        started.append(subprocess.Popen([str(word) for word in command], **(streams | options)))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def start(begin):
    """Starts the command line as a process of its own."""
    return lambda *arguments, **options: begin(sys.executable, "-m", "clntk.cli", *arguments, **options)


def wait_for(condition, process=None):
    """Until something holds; not if a process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_for_a_boundary(store, spec, process=None):
    """Until the first phase of a run is saved."""
    wait_for((RunStore(store).work(spec.run_id) / "boundary.pt").exists, process)
