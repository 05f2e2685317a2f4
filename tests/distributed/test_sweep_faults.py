"""Sweeps on Dask workers, with real processes killed: no run is lost, and every bit comes out the same."""

import json
import os
import re
import signal
import threading
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import psutil
import pytest
from processes import PATIENCE, wait_for, wait_for_a_boundary

import clntk
from clntk.engines import local
from clntk.protocol import expand, load
from clntk.runs.events import What
from clntk.runs.index import INDEX
from clntk.runs.store import RunStore, State

CRASHING = '''
import os

from clntk import register


@register("strategy")
def crashing(setup, training):
    """Takes its process with it."""
    os._exit(9)
'''


HASTY = """
from clntk.cli import main
from clntk.engines import dask

dask.PATIENCE = 2  # seconds to wait for a scheduler that is gone
main()
"""


class Kept:
    """An engine that outlives those who use it."""

    def __init__(self, engine):
        self.engine, self.map = engine, engine.map

    def close(self):
        """Kept."""


@pytest.fixture(scope="module")
def dask():
    """Two workers; a cell that kills one is lost at once, so that those who use the engine have to mend it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(local.SETTINGS, "distributed.scheduler.allowed-failures", 0)
        made = clntk.registry.get("engine", "dask")(workers=2)
    yield made
    made.close()


@pytest.fixture
def engine(dask):
    @clntk.register("engine", "kept", remote=True)
    def kept():
        """The workers that all tests share."""
        return Kept(dask)

    return "kept"


def addresses(dask):
    """Of the workers that the scheduler knows."""
    return set(dask.client.scheduler_info(n_workers=-1)["workers"])


def workers_of(dask):
    return list(dask.client.run(os.getpid).values())


def assert_whole(store, whole, specs, differences):
    """All runs are there, as nobody disturbed them, and nothing else."""
    assert [differences(whole / spec.run_id, store / spec.run_id) for spec in specs] == [[]] * len(specs)
    assert not list((store / ".work").iterdir())
    assert {path.name for path in store.iterdir()} <= {*(s.run_id for s in specs), ".work", ".locks", INDEX}


def test_workers_killed_or_asked_to_end_in_mid_run_cost_no_run_and_no_bit(
    engine, dask, long_protocol, naive_and_replay, whole, tmp_path, differences
):
    store, events = tmp_path / "runs", []
    dask.client.wait_for_workers(2, timeout=PATIENCE)

    def kill():
        for spec in naive_and_replay:
            wait_for(lambda spec=spec: begun(spec) or RunStore(store).is_published(spec.run_id))
        under_way.extend(spec for spec in naive_and_replay if begun(spec))
        for pid, number in zip(victims, (signal.SIGKILL, signal.SIGTERM), strict=True):
            os.kill(pid, number)

    def begun(spec):
        return (RunStore(store).work(spec.run_id) / "boundary.pt").exists()

    under_way = []  # both, but on a machine so busy that one worker is done before the other has begun
    victims = workers_of(dask)
    killer = threading.Thread(target=kill)
    killer.start()
    runs = clntk.run(long_protocol, store=store, engine=engine, listener=events.append)
    killer.join()
    assert not set(victims) & set(workers_of(dask))
    assert len(runs) == 2
    assert_whole(store, whole, naive_and_replay, differences)
    resumed = [event.info["done"] for event in events if event.what is What.RESUMED]
    assert len(resumed) == len(under_way) >= 1
    assert all(1 <= done < 4 for done in resumed)
    trained = [(e.spec.run_id, e.info["done"]) for e in events if e.what is What.BOUNDARY]
    assert len(trained) == len(set(trained))  # no task was trained and saved twice
    # of what was saved the instant before, a worker that is killed cannot tell: but the run goes on from there
    gone_on = {(e.spec.run_id, e.info["done"]) for e in events if e.what is What.RESUMED}
    assert len(gone_on | set(trained)) == 8


def test_a_run_that_always_crashes_its_worker_fails_with_its_reason_and_the_others_finish(
    engine, write_protocol, tmp_path, cli
):
    (tmp_path / "mine.py").write_text(CRASHING)
    path = write_protocol(tmp_path, use=["mine.py"], sweep={"strategy.name": ["naive", "crashing"]})
    store, events = tmp_path / "runs", []
    runs = clntk.run(path, store=store, engine=engine, listener=events.append)
    assert [run.spec.strategy["name"] for run in runs] == ["naive"]
    (failed,) = runs.failures
    assert failed.spec.strategy["name"] == "crashing"
    assert failed.note.startswith(
        "its worker process died 1 times while it ran, the last at tcp://127.0.0.1:"
    )
    assert [event.spec.strategy["name"] for event in events if event.what is What.FAILED] == ["crashing"]
    again = cli("resume", store)  # on no account: it would take this process with it
    assert again.code == 1
    assert "not tried again; --retry-failed does" in again.out


def test_runs_trained_together_that_lose_their_worker_go_on_one_by_one(
    engine, dask, write_protocol, tmp_path, differences
):
    options = {"name": "naive", "epochs": 300, "batch_size": None, "lr": 0.004}
    path = write_protocol(
        tmp_path, strategy=options, seeds=2, stream={"name": "context_blobs", "schedule": "blocked"}
    )
    store, events, killed = tmp_path / "runs", [], []

    def listener(event):
        events.append(event)
        if event.what is What.BOUNDARY and not killed:
            before = addresses(dask)
            killed.extend(workers_of(dask))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not before & addresses(dask))  # or the next cell goes to one of the dead

    runs = clntk.run(path, store=store, engine=engine, together=True, listener=listener)
    assert len(runs) == 2
    assert killed
    assert not list((store / ".work").iterdir())


def none_alive(processes):
    return all(map(has_ended, processes))


def has_ended(process):
    """With all its threads: one that still runs under a first one that has ended holds what was open."""
    try:
        return not process.is_running() or (
            process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
        )
    except psutil.NoSuchProcess:
        return True


def wait_for_progress(store, spec, process):
    """Until a run saves its next boundary."""
    before = RunStore(store).progress(spec.run_id)
    wait_for(lambda: RunStore(store).progress(spec.run_id) != before, process)


def test_the_same_command_goes_on_where_the_driver_was_killed_or_asked_to_end(
    engine, long_protocol, naive_and_replay, whole, start, tmp_path, differences
):
    store, pids = tmp_path / "runs", []
    command = ["run", long_protocol, "--store", store, "--workers", "2"]
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        process = start(*command)
        pids.append(process.pid)
        wait_for_progress(store, naive_and_replay[0], process)
        workers = process.descendants()
        assert len(workers) >= 2
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        assert "Traceback" not in err
        if number != signal.SIGKILL:
            assert f"clntk run {long_protocol} --store {store} --engine dask --workers 2" in err
        wait_for(partial(none_alive, workers))
        assert not any(s.state is State.RUNNING for s in RunStore(store).standings())

    assert re.search(r"strategy.name=naive: resumed after [123] of 4 phases", out)
    assert len(clntk.run(long_protocol, store=store, engine=engine)) == 2
    assert_whole(store, whole, naive_and_replay, differences)
    assert not [path for pid in pids for path in Path(gettempdir()).glob(f"clntk-dask-{pid}-*")]


def test_a_scheduler_that_dies_is_named_and_another_one_goes_on(
    begin, start, long_protocol, naive_and_replay, whole, tmp_path, differences
):
    def scheduler():
        """A scheduler and a worker, each a process of its own, and the command that runs there."""
        file = tmp_path / f"scheduler{len(started)}.json"
        here = ["--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard"]
        begun = begin(
            "distributed.cli.dask_scheduler", *here, "--port", "0", "--dashboard-address", "127.0.0.1:0"
        )
        wait_for(file.exists, begun)
        begin("distributed.cli.dask_worker", *here, "--no-nanny", "--nthreads", "1", "--death-timeout", "5")
        started.append(begun)
        address = json.loads(file.read_text())["address"]
        return begun, ["run", long_protocol, "--store", store, "--scheduler", address]

    store, started = tmp_path / "runs", []
    (tmp_path / "hasty.py").write_text(HASTY)
    first, command = scheduler()
    process = begin(tmp_path / "hasty.py", *command)
    wait_for_a_boundary(store, naive_and_replay[0], process)
    first.kill()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert re.search(
        r"clntk: the Dask scheduler tcp://127.0.0.1:\d+ is gone; .*run the same command again", err
    )
    assert "Traceback" not in err

    _, command = scheduler()
    done = start(*command)
    _, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, err
    assert_whole(store, whole, naive_and_replay, differences)


def test_two_drivers_share_the_work(dask, start, write_protocol, tmp_path, differences):
    path, store = write_protocol(tmp_path), tmp_path / "runs"
    command = ["run", path, "seeds=6", "--store", store, "--scheduler", dask.address]
    drivers = [start(*command) for _ in range(2)]
    said = [driver.communicate(timeout=PATIENCE) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    trained = [re.findall(r"seed (\d): B trained", out) for out, _ in said]
    assert sorted(trained[0] + trained[1]) == [str(seed) for seed in range(6)]
    assert len(clntk.open_runs(store)) == len(expand(load(path, ["seeds=6"])))
    assert not list((store / ".work").iterdir())
