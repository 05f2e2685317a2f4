"""What every engine owes, and what Dask owes beyond it."""

import importlib
import multiprocessing
import os
import re
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

import clntk
from clntk import registry
from clntk.engine import Lost
from clntk.engines import local
from clntk.engines.local import dask_setup
from clntk.errors import ClntkError, OptionError

OPTIONS = {"serial": {}, "dask": {"workers": 2}}


def work(cell, tell, *, folder):
    """Ten times the cell, said twice; zero takes its worker with it, a negative one is an error."""
    if cell == 0:
        os._exit(7)
    if cell < 0:
        raise ValueError(f"found {cell}")
    tell({"cell": cell, "part": 1})
    Path(folder, str(cell)).touch()
    tell({"cell": cell, "part": 2})
    return 10 * cell


@pytest.fixture(scope="module", params=sorted(OPTIONS))
def engine(request):
    made = registry.get("engine", request.param)(**OPTIONS[request.param])
    yield made
    made.close()


@pytest.fixture(scope="module")
def dask():
    made = registry.get("engine", "dask")(workers=2)
    yield made
    made.close()


def test_there_is_a_contract_for_every_engine():
    assert set(OPTIONS) == set(registry.names("engine"))


def test_every_cell_gives_its_result_and_says_what_it_says_in_order(engine, tmp_path):
    told = []
    results = engine.map(partial(work, folder=tmp_path), range(1, 31), told.append)
    assert sorted(results) == [10 * cell for cell in range(1, 31)]
    assert {int(path.name) for path in tmp_path.iterdir()} == set(range(1, 31))
    for cell in range(1, 31):
        assert [m["part"] for m in told if m["cell"] == cell] == [1, 2]


def chatter(cell, tell):
    for n in range(1000):
        tell({"n": n, "passing": True})
    tell({"n": "end"})


def test_dask_passes_on_but_few_of_the_messages_that_may_get_lost(dask):
    told = []
    list(dask.map(chatter, [1], told.append))
    assert told[0]["n"] == 0
    assert told[-1]["n"] == "end"
    assert len(told) < 20


def test_work_may_be_large(engine):
    large = partial(large_work, ballast=bytes(10**6))
    assert sorted(engine.map(large, range(1, 4), print)) == [1, 2, 3]
    assert sorted(engine.map(large, range(4, 6), print)) == [4, 5]


def large_work(cell, tell, *, ballast):
    return cell


def test_kernels_are_written_by_workers(dask, tmp_path):
    @registry.register("engine", "kept")
    def kept():
        """The workers that are there."""
        return SimpleNamespace(map=dask.map, close=lambda: None)

    torch.manual_seed(0)
    model, x = torch.nn.Linear(4, 2).double(), torch.randn(7, 4, dtype=torch.float64)
    found = clntk.empirical_ntk(model, x, out=tmp_path / "k", engine="kept", block_bytes=2 * (2 * 2) ** 2 * 8)
    np.testing.assert_allclose(found.values, clntk.empirical_ntk(model, x).numpy(), rtol=1e-12)


def test_without_cells_there_are_no_results(engine, tmp_path):
    assert list(engine.map(partial(work, folder=tmp_path), [], print)) == []


def test_an_error_of_a_cell_is_raised_and_the_engine_goes_on_to_others(engine, tmp_path):
    with pytest.raises(ValueError, match="found -1"):
        list(engine.map(partial(work, folder=tmp_path), [-1], print))
    assert list(engine.map(partial(work, folder=tmp_path), [4], print)) == [40]


def test_a_worker_that_cannot_import_what_it_is_to_run_says_so(dask, tmp_path, monkeypatch):
    dask.client.wait_for_workers(2, timeout=30)
    (tmp_path / "only_here.py").write_text("def work(cell, tell): return cell\n")
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("only_here").work
    with pytest.raises(ClntkError, match=r"found tcp://127\.0\.0\.1:\d+ \(ModuleNotFoundError: .*only_here"):
        list(dask.map(work, [1], print))


def slow(cell, tell, *, folder):
    Path(folder, str(cell)).touch()
    time.sleep(0.2)
    return cell


def test_cells_that_have_not_begun_when_nobody_wants_results_any_more_do_not_begin(engine, tmp_path):
    next(results := engine.map(partial(slow, folder=tmp_path), range(50), print))
    results.close()
    time.sleep(0.5)
    assert 1 <= len(list(tmp_path.iterdir())) < 10


def test_workers_of_this_machine_are_sent_cells_as_there_is_room(dask, tmp_path):
    asked = []
    results = dask.map(partial(work, folder=tmp_path), (asked.append(n) or n for n in range(1, 21)), print)
    for n in range(1, 21):
        next(results)
        assert len(asked) == min(dask.ahead + n - 1, 20)  # what a result teaches counts from the next cell
    assert next(results, None) is None


def test_a_cell_that_takes_its_workers_with_it_is_lost_and_the_others_are_not(dask, tmp_path):
    results = list(dask.map(partial(work, folder=tmp_path), [1, 0, 2, 3, 4], print))
    (lost,) = [result for result in results if isinstance(result, Lost)]
    assert lost.cell == 0
    assert re.match(
        r"its worker process died 3 times while it ran, the last at tcp://127\.0\.0\.1:\d+", lost.reason
    )
    assert sorted(set(results) - {lost}) == [10, 20, 30, 40]


def test_workers_are_processes_of_one_thread_that_listen_on_this_machine_alone(dask):
    dask.client.wait_for_workers(2, timeout=30)
    info = dask.client.scheduler_info(n_workers=-1)
    workers = info["workers"].values()
    assert len(workers) == 2
    assert {worker["nthreads"] for worker in workers} == {1}
    assert os.getpid() not in dask.client.run(os.getpid).values()
    assert set(dask.client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()) == {"1"}
    processes = [psutil.Process(), *(psutil.Process(pid) for pid in dask.client.run(os.getpid).values())]
    sockets = [c for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(sockets) >= 4
    assert {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("visible", "name", "sees"),
    [("3,5", 0, "3"), ("3,5", 1, "5"), ("3,5", 2, "3"), ("", 1, ""), (None, 0, None)],
)
def test_each_worker_sees_one_gpu(monkeypatch, visible, name, sees):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    dask_setup(type("Worker", (), {"name": name}))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == sees


def test_workers_that_end_as_they_begin_are_named_with_what_is_likely(tmp_path, monkeypatch):
    (tmp_path / "ends.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setattr(local, "__name__", str(tmp_path / "ends.py"))  # what workers load as they start
    with pytest.raises(ClntkError, match=r"found that they ended as they began; in a script of your own"):
        registry.get("engine", "dask")(workers=1)


def test_a_script_that_a_worker_imports_starts_no_workers(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(SystemExit):
        registry.get("engine", "dask")(workers=1)


def test_one_place_at_a_time(tmp_path):
    make = registry.get("engine", "dask")
    with pytest.raises(ClntkError, match="expected one place to run at"):
        make(workers=2, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(OptionError, match=r"workers: expected greater than or equal to 1"):
        make(workers=0)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("clntk.engines.dask.PATIENCE", 0.3)
    with pytest.raises(
        ClntkError, match=r"expected a Dask scheduler at tcp://127.0.0.1:9, found none that answers"
    ):
        registry.get("engine", "dask")(scheduler="tcp://127.0.0.1:9")
