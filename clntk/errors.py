"""The errors a user can cause or mend; each says where, what was expected, what was found, what to do."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class ClntkError(Exception):
    """Base of every error that clntk raises on purpose; the command line prints it without a traceback."""


class UnknownName(ClntkError):
    """A name that no registered component, protocol or run has."""


class DataError(ClntkError):
    """Data that a stream, measure or capture cannot use."""


class StoreError(ClntkError):
    """A run store or run folder that cannot be read or written."""


class NotApplicable(StoreError):
    """An analysis asked of runs that it is not for: a report leaves it out."""


class DamagedRun(StoreError):
    """A run folder with files missing or changed since it was published."""


class KernelFallbackWarning(UserWarning):
    """Some parameters are differentiated the slow way, because hooks do not see how they are used."""


class NewerFormat(StoreError):
    """A run written by a later version of clntk."""


class Diverged(ClntkError):
    """Training that produced a loss that is not finite.

    Args:
        step: the optimizer step (counted from 1 over the whole run) at which it happened.
        task: the training phase it happened in.
        loss: the loss found there.
    """

    def __init__(self, *, step: int, task: str, loss: float) -> None:
        self.step, self.task, self.loss = step, task, loss
        super().__init__(
            f"training diverged: the loss became {loss} at step {step}, while training on {task}; "
            "lower strategy.lr, or the scale that the regime sets"
        )


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a protocol: where, what was expected, what was found."""

    path: str
    expected: str
    found: str
    hint: str = ""

    def __str__(self) -> str:
        tail = f"; {self.hint}" if self.hint else ""
        return f"{self.path}: expected {self.expected}, found {self.found}{tail}"


class Problems(ClntkError):
    """Something with several problems, all told at once.

    Args:
        name: what has them.
        problems: the problems.
    """

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{name}: {count}\n{lines}")


class ProtocolError(Problems):
    """A protocol that cannot be run."""


class OptionError(Problems):
    """Options that a component does not have, or values that they cannot have."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest legal name, as the sentence that ends an error; empty when nothing is near."""
    close = difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
