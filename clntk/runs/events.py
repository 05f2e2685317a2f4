"""What a run says while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clntk.protocol.spec import RunSpec


class What(StrEnum):
    """Kinds of events."""

    STARTED = "started"
    RESUMED = "resumed"
    RETRIED = "retried"
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

    def as_message(self) -> dict[str, Any]:
        """The event in plain values, the run by its id."""
        passing = self.what is What.EPOCH
        return {"what": str(self.what), "run": self.spec.run_id, "info": self.info, "passing": passing}

    @classmethod
    def from_message(cls, message: Mapping[str, Any], specs: Mapping[str, RunSpec]) -> "Event":
        """The event that a message tells of, given the specs by run id."""
        return cls(What(message["what"]), specs[message["run"]], message["info"])


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does not listen."""
