"""What a run says while it runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clntk.protocol.spec import RunSpec


class What(StrEnum):
    """Kinds of events."""

    STARTED = "started"
    RESUMED = "resumed"
    EPOCH = "epoch"
    BOUNDARY = "boundary"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"


@dataclass(frozen=True)
class Event:
    """One thing that happened to one run."""

    what: What
    spec: RunSpec
    info: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does not listen."""
