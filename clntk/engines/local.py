"""Dask workers on this machine: processes of one thread that end with the one that started them."""

import logging
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

from clntk.errors import ClntkError

if TYPE_CHECKING:
    from distributed import LocalCluster, Worker

SCRATCH = "clntk-dask"  # of workers' folders, then the process that they are of
ANY_PORT = "127.0.0.1:0"  # any that is free, for this machine alone
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # read once, as libraries load
SETTINGS = {
    "distributed.scheduler.allowed-failures": 2,  # a cell that kills three workers is lost
    "distributed.scheduler.worker-saturation": 1.0,  # no cell waits on a worker: a death is blamed on the right one
    "distributed.worker.multiprocessing-method": "forkserver",  # what workers import, one process imports once
    # each of these would take the interpreter from what trains, tens or hundreds of times a second
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
}

NOT_STARTED = (
    "engine dask: expected workers of this machine, found that they ended as they began; in a script of your own, "
    'start them under `if __name__ == "__main__":`, since every worker imports the script'
)


@contextmanager
def local_cluster(workers: int | None, memory: str | None) -> Iterator["LocalCluster"]:
    """Workers of this machine, bound to the loopback interface, without a dashboard; one GPU each where there are any.

    Args:
        workers: how many; by default one a GPU, or one a core that this process may use.
        memory: what each may take.

    Raises:
        ClntkError: if they do not start.
    """
    import dask
    import distributed  # noqa: F401  whose defaults, loaded within the settings, would go with them

    _end_if_imported_by_a_worker()
    gpus = _gpus()
    _drop_scratch_of_the_dead()
    warm_up()
    with (
        TemporaryDirectory(prefix=f"{SCRATCH}-{os.getpid()}-") as folder,
        dask.config.set(SETTINGS),
        _started(
            n_workers=workers or len(gpus) or len(os.sched_getaffinity(0)),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": ANY_PORT},  # health and metrics
            worker_dashboard_address=ANY_PORT,  # or earlier versions of Dask listen to everybody
            memory_limit=memory or 0,
            local_directory=folder,
            silence_logs=logging.CRITICAL,
            preload=[__name__],
        ) as cluster,
    ):
        yield cluster


@contextmanager
def _started(**how: Any) -> Iterator["LocalCluster"]:
    from distributed import LocalCluster

    try:
        cluster = LocalCluster(**how)
    except RuntimeError as error:  # what Dask makes of workers that end before they have begun
        raise ClntkError(NOT_STARTED) from error
    with cluster:
        yield cluster


def _end_if_imported_by_a_worker() -> None:
    """Each worker imports the script that it was started from: this must not start workers in turn."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)  # without a word: the process that started this one says it


def warm_up() -> None:
    """Begin to import what workers need, in the process that they are forked from; it goes on in the background."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        forkserver.set_forkserver_preload(["clntk.preloaded"])
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _drop_scratch_of_the_dead() -> None:
    """Remove the folders of engines whose process was killed before it could."""
    import psutil

    for folder in Path(gettempdir()).glob(f"{SCRATCH}-*-*"):
        pid = folder.name.split("-")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def dask_setup(worker: "Worker") -> None:
    """Called by Dask in each worker process as it starts: leave it one GPU to see."""
    if gpus := _gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(worker.name) % len(gpus)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]
