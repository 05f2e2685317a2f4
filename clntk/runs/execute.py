"""One run, whatever happens to it: done, skipped, failed with its reason, or left to another process."""

import time
import traceback
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from filelock import Timeout

from clntk.errors import ClntkError, DamagedRun, Diverged, NewerFormat, StoreError
from clntk.protocol.spec import RunSpec
from clntk.runs import transient
from clntk.runs.boundary import callers_generators
from clntk.runs.events import Event, Listener, What, ignore
from clntk.runs.files import disk_errors, is_refusal
from clntk.runs.published import read_published
from clntk.runs.session import Session
from clntk.runs.store import RunStore
from clntk.runs.torch_state import steady_torch


@dataclass(frozen=True)
class Outcome:
    """How one run ended: ``done``, ``failed``, ``skipped`` (was done before) or ``busy`` (another process has it)."""

    run_id: str
    status: str
    message: str = ""


Turns = Generator[Session, None, Outcome]


def execute(spec: RunSpec, store: RunStore, *, listener: Listener = ignore, wait: bool = False) -> Outcome:
    """Carry out one run unless it is done or in another process's hands; failures are noted, not raised.

    Args:
        spec: what to run.
        store: where to.
        listener: told what happens.
        wait: whether to wait for another process that has the run.

    Raises:
        StoreError: if the disk refuses; nothing else, but for an interrupt.
    """
    with (
        steady_torch(),
        callers_generators(),
        closing(turns(spec, store, listener=listener, wait=wait)) as run,
    ):
        error = None
        while True:
            try:
                session = next(run) if error is None else run.throw(error)
            except StopIteration as end:
                return end.value
            try:
                error = None
                session.learner.epochs()
            except Exception as raised:
                error = raised


def turns(spec: RunSpec, store: RunStore, *, listener: Listener = ignore, wait: bool = False) -> Turns:
    """One run, as :func:`execute` carries it out, that halts at each phase for its epochs to be taken.

    Whoever takes them throws back what goes wrong with them.

    Returns:
        How it ended, once there is no further phase.
    """
    if store.is_published(spec.run_id):
        return _skip(spec, store, listener)
    try:
        with disk_errors(store.root), store.lock(spec.run_id, wait=wait):
            if store.is_published(spec.run_id):  # another process was quicker
                return _skip(spec, store, listener)
            return (yield from _attempt(spec, store, listener))
    except Timeout:
        return Outcome(spec.run_id, "busy")


def _skip(spec: RunSpec, store: RunStore, listener: Listener) -> Outcome:
    """A run that lies in the store already counts as done only if it can be used."""
    store.discard_work(spec.run_id)  # what a process left that was killed, or quicker than this one
    try:
        read_published(store.published(spec.run_id))
    except (DamagedRun, NewerFormat) as error:
        listener(Event(What.FAILED, spec, {"reason": str(error)}))
        return Outcome(spec.run_id, "failed", str(error))
    listener(Event(What.SKIPPED, spec))
    return Outcome(spec.run_id, "skipped")


def _attempt(spec: RunSpec, store: RunStore, listener: Listener) -> Turns:
    try:
        yield from _tried(spec, store, listener)
    except Exception as error:
        if isinstance(error, StoreError) or is_refusal(error, store.root):
            raise
        failure: dict[str, Any] = {
            "reason": str(error),
            "kind": type(error).__name__,
            "repeatable": isinstance(error, ClntkError),
        }
        if isinstance(error, Diverged):
            failure |= {"step": error.step, "task": error.task}
        if not isinstance(error, ClntkError):
            failure |= {"reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        store.fail(spec.run_id, failure)
        listener(Event(What.FAILED, spec, failure))
        return Outcome(spec.run_id, "failed", failure["reason"])
    listener(Event(What.DONE, spec))
    return Outcome(spec.run_id, "done")


def _tried(spec: RunSpec, store: RunStore, listener: Listener) -> Generator[Session, None, None]:
    """The phases of a run; where an error may pass, tried again from its last task boundary, after a while."""
    for delay in (*transient.DELAYS, None):
        session = Session(spec, store, listener)
        try:
            for _ in session.phases():
                yield session
            return
        except Exception as error:
            if delay is None or not transient.is_transient(error):
                raise
            listener(
                Event(What.RETRIED, spec, {"reason": f"{type(error).__name__}: {error}", "delay": delay})
            )
            time.sleep(delay)
