"""Fixtures for tests with real processes, that are killed and interrupted."""

import multiprocessing
import os
import runpy
import sys
import time
from functools import partial
from uuid import uuid4

import psutil
import pytest

import clntk
from clntk.engines.local import warm_up
from clntk.protocol import expand, load
from clntk.runs.store import RunStore

STREAM = {"name": "permuted_digits", "n_tasks": 4, "n_probe": 4}
PATIENCE = 120  # seconds until a process that does not get on is a failure


@pytest.fixture(scope="session")
def long_protocol(write_protocol, tmp_path_factory):
    """Four tasks of a fifth of a second each, with momentum: first without, then with a memory."""
    options = {"name": "naive", "epochs": 10, "batch_size": 32, "lr": 0.02, "momentum": 0.9}
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


class Forked:
    """A process of its own, forked from one that has imported everything: it starts in a moment.

    Args:
        folder: where it works, and where what it says is kept.
        program: a module, run as ``python -m`` would, or the path of a script.
        arguments: of the command line.
    """

    def __init__(self, folder, program, *arguments):
        self.said = [folder / f".said-{uuid4().hex}" for _ in range(2)]
        words = [str(word) for word in (program, *arguments)]
        self.process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=(words, folder, self.said)
        )
        warm_up()
        self.process.start()
        self.others = set(self._family())  # of processes started before

    @property
    def pid(self):
        return self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.returncode

    def kill(self):
        self.process.kill()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def communicate(self, timeout=None):
        """What it said on either stream, once it has ended."""
        self.process.join(timeout)
        assert self.returncode is not None, "it still runs"
        return [path.read_text() for path in self.said]

    def descendants(self):
        """The processes that it started, and their own."""
        return [p for p in self._family() if p not in self.others]

    def _family(self):
        return psutil.Process(self.pid).parent().children(recursive=True)


def _run(words, folder, said):
    for stream, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(folder)
    sys.argv = words
    if words[0].endswith(".py"):
        runpy.run_path(words[0], run_name="__main__")
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def said_by(process):
    """What a process said, which has to end well."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def begin(tmp_path):
    """Starts a module or a script as a process of its own; whatever still runs at the end is killed."""
    started = []

    def start(program, *arguments):
        started.append(Forked(tmp_path, program, *arguments))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def start(begin):
    """Starts the command line as a process of its own."""
    return partial(begin, "clntk.cli")


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
