"""Real processes: killed, interrupted, two at once; nothing is lost and every bit comes out the same."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import clntk
from clntk.runs.store import RunStore, State

STREAM = {"name": "permuted_digits", "n_tasks": 4, "n_probe": 4}
PATIENCE = 120  # seconds until a process that does not get on is a failure


@pytest.fixture(scope="module")
def long_protocol(write_protocol, tmp_path_factory):
    """Four tasks of a third of a second each, trained by any strategy."""

    def write(strategy):
        options = {"name": strategy, "epochs": 18, "batch_size": 32, "lr": 0.02, "momentum": 0.9}
        return write_protocol(tmp_path_factory.mktemp(strategy), "long", stream=STREAM, strategy=options)

    return write


@pytest.fixture(scope="module")
def whole(long_protocol, tmp_path_factory):
    """The first run of the long protocol, as it comes out where nothing disturbs it."""
    return lambda strategy: (
        clntk.run(long_protocol(strategy), store=tmp_path_factory.mktemp("whole")).runs[0].path
    )


@pytest.fixture(scope="module")
def whole_naive(whole):
    return whole("naive")


@pytest.fixture
def start(tmp_path):
    """Starts the command line as a process of its own; whatever still runs at the end is killed."""
    started = []

    def begin(*arguments):
        command = [sys.executable, "-m", "clntk.cli", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, **streams))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_a_boundary(store, process):
    """Until the first phase of a run is saved."""
    deadline = time.monotonic() + PATIENCE
    while not list(store.glob(".work/*/boundary.pt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def killed(process, store):
    wait_for_a_boundary(store, process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert [s.state for s in RunStore(store).standings()] == [State.INTERRUPTED]


def test_a_killed_process_run_again_resumes_to_the_same_bits(
    long_protocol, whole_naive, start, tmp_path, cli, differences
):
    path, store = long_protocol("naive"), tmp_path / "runs"
    killed(start("run", path, "--store", store), store)
    status = cli("status", store).out
    assert re.search(r"long +interrupted +1", status)

    again = start("run", path, "--store", store)
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    assert re.search(r"plain seed 0: resumed after [123] of 4 phases", out)
    assert "1 of 1 runs done" in out

    (run,) = clntk.open_runs(store)
    assert differences(whole_naive, run.path) == []
    assert not list((store / ".work").iterdir())


def test_a_killed_replay_with_momentum_resumes_to_the_same_bits(
    long_protocol, whole, start, tmp_path, cli, differences
):
    path, store = long_protocol("replay"), tmp_path / "runs"
    killed(start("run", path, "--store", store), store)
    again = cli("run", path, "--store", store)
    assert again.code == 0
    assert re.search(r"resumed after [123] of 4 phases", again.out)
    assert differences(whole("replay"), clntk.open_runs(store).runs[0].path) == []


def test_an_interrupt_says_how_to_go_on_and_resume_does(
    long_protocol, whole_naive, start, tmp_path, cli, differences
):
    path, store = long_protocol("naive"), tmp_path / "runs"
    process = start("run", path, "seeds=2", "--store", store)
    wait_for_a_boundary(store, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted: everything up to the last task boundary is saved; go on with" in err
    assert f"clntk run {path} seeds=2 --store {store}" in err
    assert "Traceback" not in out + err
    assert "FAILED" not in out

    done = cli("resume", store)
    assert done.code == 0
    assert "2 of 2 runs done" in done.out
    assert re.search(r"seed 0: resumed after [123] of 4 phases", done.out)
    assert "seed 1: training on 4 phases" in done.out
    assert differences(whole_naive, store / whole_naive.name) == []
    assert "nothing to resume: 2 runs" in cli("resume", store).out


def test_two_processes_on_one_store_share_the_work(write_protocol, start, tmp_path, differences):
    path, store = write_protocol(tmp_path), tmp_path / "runs"
    processes = [start("run", path, "seeds=5", "--store", store) for _ in range(2)]
    ended = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    trained = [re.findall(r"seed (\d): B trained", out) for out, _ in ended]
    assert sorted(trained[0] + trained[1]) == [str(seed) for seed in range(5)]  # each once

    runs = clntk.open_runs(store)
    assert runs.seeds == list(range(5))
    assert runs.others == []
    assert not list((store / ".work").iterdir())
    for run in runs:  # reading checks every checksum
        assert {"outputs", "kernels"} < set(run.tree.children)
        assert run.fact("weights").sizes["checkpoint"] == len(run.fact("metrics").checkpoint) == 3
        assert json.loads((run.path / "provenance.json").read_text())["run"] == run.run_id
    (whole,) = clntk.run(path, store=tmp_path / "whole")
    assert differences(whole.path, store / whole.run_id) == []
