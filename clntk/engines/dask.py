"""Cells on Dask workers: processes of this machine, a scheduler that is there already, or jobs of a SLURM cluster."""

import logging
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from pydantic import Field

from clntk.engine import Cell, Engine, Lost, Message, Result, Tell
from clntk.engines import unpack
from clntk.errors import ClntkError
from clntk.registry import register

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

GONE = (
    "the Dask scheduler {} is gone; what runs had saved is in the store: run the same command again to go on"
)
UNREADABLE = (
    "engine dask: expected a worker that can read what it is to run, found {}; install where workers run what is "
    "installed here: clntk in the same version, and the modules of components of your own"
)
AHEAD = 2  # cells for each worker of this machine: one that it runs, and one for when it has
PACE = 0.5  # seconds between messages that are passing
PATIENCE = 10  # seconds until a scheduler counts as not there
MISSING = "engine dask: needs packages that are not installed ({}); pip install 'clntk[dask]'"


class Dask:
    """Cells on the workers of a Dask client.

    Args:
        client: it; a worker takes one cell at a time.
        held: closed with the engine, such as a cluster of its own.
        ahead: how many cells the scheduler has at once; by default all, so that a cluster can grow with them.
    """

    def __init__(self, client: "Client", held: ExitStack, ahead: int | None = None) -> None:
        self.client, self.held, self.ahead = client, held, ahead
        self.address = client.scheduler.address

    def map(
        self, work: Callable[[Cell, Tell], Result], cells: Iterable[Cell], tell: Tell
    ) -> Iterator[Result | Lost[Cell]]:
        from cloudpickle import dumps

        coming = iter(cells)
        topic = f"clntk-{uuid4().hex}"
        inbox: SimpleQueue[Any] = SimpleQueue()  # of messages and futures
        waiting: dict[str, tuple[Future, Cell]] = {}

        def send(some: list[Cell]) -> None:
            futures = self.client.map(
                unpack.carry_out, [dumps(cell) for cell in some], topic=topic, pure=False
            )
            waiting.update((future.key, (future, cell)) for future, cell in zip(futures, some, strict=True))
            for future in futures:
                future.add_done_callback(inbox.put)

        self.client.subscribe_topic(topic, lambda event: inbox.put(event[1]))
        # the scheduler keeps the work: were it an argument of all cells, each would have it, or all hang on one worker
        self.client.set_metadata(topic, dumps(work))
        try:
            send(list(islice(coming, self.ahead)))
            while waiting:
                item = inbox.get()
                if isinstance(item, dict):
                    tell(item)
                    continue
                # nothing may hold a future while its result is looked at: Dask would compute it again, did the worker
                # that has it die meanwhile
                cell = waiting.pop(item.key)[1]
                result = self._result(item, cell)
                del item
                yield result
                if more := list(islice(coming, 1)):
                    send(more)
        finally:
            self.client.cancel([future for future, _ in waiting.values()])
            self.client.unsubscribe_topic(topic)
            with suppress(OSError):  # where the scheduler is gone, it keeps nothing
                self.client.set_metadata(topic, None)

    def _result(self, future: "Future", cell: Cell) -> Result | Lost[Cell]:
        from asyncio import CancelledError

        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            answer = future.result()
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            last = error.last_worker.address
            return Lost(cell, f"its worker process died {deaths} times while it ran, the last at {last}")
        except (CancelledError, FutureCancelledError) as error:
            raise ClntkError(GONE.format(self.address)) from error
        if unpack.UNREADABLE in answer:
            raise ClntkError(UNREADABLE.format(answer[unpack.UNREADABLE]))
        return answer[unpack.RESULT]

    def close(self) -> None:
        """Give up whatever still runs; end workers that are the engine's own."""
        self.held.close()


@register("engine", remote=True)
def dask(
    *,
    workers: Annotated[int, Field(ge=1)] | None = None,
    memory: str | None = None,
    scheduler: str | None = None,
    cluster: Path | None = None,
) -> Engine:
    """Runs execute on Dask workers: processes of this machine, those of a scheduler, or jobs of a SLURM cluster.

    Args:
        workers: how many processes of this machine; by default one a core that this process may use, or one a GPU.
        memory: what each of them may take, such as 4GiB; by default what there is.
        scheduler: the address of a Dask scheduler that is running, such as tcp://127.0.0.1:8786.
        cluster: a YAML file that says what to ask SLURM for; see :class:`clntk.engines.slurm.SlurmSettings`.

    Raises:
        ClntkError: if Dask is not installed, more than one place is named, or no scheduler answers.
    """
    try:
        import cloudpickle
        import distributed  # noqa: F401
    except ImportError as error:
        raise ClntkError(MISSING.format(error.name)) from error
    cloudpickle.register_pickle_by_value(unpack)
    named = {"workers": workers or memory, "scheduler": scheduler, "cluster": cluster}
    if len([name for name, value in named.items() if value is not None]) > 1:
        raise ClntkError(
            "engine dask: expected one place to run at, found several of workers (or memory), scheduler and "
            "cluster; give workers for this machine, scheduler for an address, cluster for SLURM"
        )
    with ExitStack() as opened:
        opened.enter_context(_quiet())
        ahead = None
        if scheduler is not None:
            target: Any = scheduler
        elif cluster is not None:
            from clntk.engines.slurm import slurm_cluster

            target = opened.enter_context(slurm_cluster(cluster))
        else:
            from clntk.engines.local import local_cluster

            target = opened.enter_context(local_cluster(workers, memory))
            ahead = AHEAD * len(target.worker_spec)
        return Dask(opened.enter_context(_client(target)), opened.pop_all(), ahead)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Dask logs of connections that break: what matters is raised."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _client(target: Any) -> "Client":
    from distributed import Client

    try:
        return Client(target, set_as_default=False, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ClntkError(
            f"engine dask: expected a Dask scheduler at {target}, found none that answers ({error}); start one "
            "(dask scheduler), or leave scheduler out"
        ) from error


@lru_cache(maxsize=1)
def work_of(topic: str) -> Callable[[Any, Tell], Any]:
    """On a worker: the work that its cells are for, with whatever it keeps from one cell to the next."""
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    return pickle.loads(sync(worker.loop, worker.scheduler.get_metadata, keys=[topic]))


def speaker(worker: "Worker", topic: str) -> Tell:
    """On a worker: how a cell says something to the topic; of what is passing, but little is said."""
    last = -PACE

    def tell(message: Message) -> None:
        nonlocal last
        if message.get("passing"):
            if time.monotonic() - last < PACE:
                return
            last = time.monotonic()
        worker.log_event(topic, message)

    return tell
