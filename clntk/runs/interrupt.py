"""Interrupts that are not lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clntk.runs.events import Event, Listener


@contextmanager
def heeded_interrupts(listener: Listener) -> Iterator[Listener]:
    """A listener that raises KeyboardInterrupt, at the next event, for an interrupt that nobody has seen.

    Python drops an exception that is raised in a callback of its garbage collector, and a KeyboardInterrupt may well
    fall there: the run would go on as if nobody had asked. A handler of the user's own is left in place, and so is
    everything where the caller is not the main thread.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield listener
        return
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    def heeding(event: Event) -> None:
        if interrupted:
            raise KeyboardInterrupt
        listener(event)

    signal.signal(signal.SIGINT, handle)
    try:
        yield heeding
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
