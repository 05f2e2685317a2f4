"""Signals that ask a sweep to stop: none is lost, and as little work as can be."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from clntk.runs.events import Event, Listener, What

SAVED = {
    What.BOUNDARY,
    What.DONE,
    What.FAILED,
    What.SKIPPED,
    What.WAITING,
}  # events with nothing left to save


class Terminated(SystemExit):
    """Asked to end by SIGTERM, as batch systems ask before they take a machine away."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def heeded_signals(listener: Listener, *, at_once: bool = False) -> Iterator[Listener]:
    """A listener that raises KeyboardInterrupt for an interrupt, and Terminated for a SIGTERM.

    An interrupt stops at once. If nobody has seen it, the next event raises it again: Python drops an exception that
    is raised in a callback of its garbage collector, and the run would go on as if nobody had asked. A SIGTERM stops
    at the next task boundary, which is saved first; with a second one, or an interrupt, at once.

    A handler of the user's own is left in place, and so is everything where the caller is not the main thread.

    Args:
        listener: told of all events.
        at_once: whether SIGTERM stops at once, too: where runs execute in other processes, there is nothing to save.
    """
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    asked: set[type[BaseException]] = set()

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.add(KeyboardInterrupt)
        signal.default_int_handler(number, frame)

    def terminate(number: int, frame: FrameType | None) -> None:
        if at_once or Terminated in asked:
            raise Terminated
        asked.add(Terminated)

    def heeding(event: Event) -> None:
        if KeyboardInterrupt in asked:
            raise KeyboardInterrupt
        listener(event)
        if Terminated in asked and event.what in SAVED:
            raise Terminated

    with ExitStack() as handlers:
        handlers.enter_context(_handled(signal.SIGINT, signal.default_int_handler, interrupt))
        handlers.enter_context(_handled(signal.SIGTERM, signal.SIG_DFL, terminate))
        yield heeding


@contextmanager
def _handled(
    number: int, default: object, handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """A handler in the default's place; one of the user's own is left alone."""
    if signal.getsignal(number) is not default:
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, default)
