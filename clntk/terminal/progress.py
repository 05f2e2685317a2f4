"""Progress of many runs: live bars on a terminal, plain lines in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from clntk.runs.events import Event, Listener, What
from clntk.terminal.text import plain

if TYPE_CHECKING:
    from clntk.runs.runset import Watch

PACE = 30  # seconds between lines on measuring in a log


@contextmanager
def progress(total: int, console: Console, *, protocols: bool = False) -> Iterator[Listener]:
    """A listener that shows what happens: regime × seed × task × epoch, with their protocols where asked for."""
    if not console.is_terminal:
        yield _Lines(total, console, protocols)
        return
    with Progress(*_columns(), console=console, transient=False) as bars:
        yield _Bars(total, bars, protocols)


@contextmanager
def measuring(console: Console) -> Iterator["Watch"]:
    """What shows how many runs are measured: a bar on a terminal that goes when all is done, lines in a log."""
    if not console.is_terminal:
        yield _NowAndThen(console)
        return
    with Progress(*_columns(), console=console, transient=True) as bars:
        task = bars.add_task("", total=1, visible=False)
        yield lambda what, done, total: bars.update(
            task, description=plain(what), total=total, completed=done, visible=True
        )


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )


class _NowAndThen:
    """A line every half minute."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self.last >= PACE:
            self.last = time.monotonic()
            told = f"{what}: {done} of {total} runs measured"
            self.console.print(told, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """One line for each thing worth a line: starts, boundaries, ends."""

    def __init__(self, total: int, console: Console, protocols: bool) -> None:
        self.total, self.console, self.protocols, self.ended = total, console, protocols, 0
        self.since = time.perf_counter()

    def __call__(self, event: Event) -> None:
        if event.what is What.EPOCH:
            return
        self.ended += event.what in (What.DONE, What.FAILED, What.SKIPPED)
        clock = f"{time.perf_counter() - self.since:7.1f}s"
        self.console.print(
            f"{clock} [{self.ended}/{self.total}] {_line(event, self.protocols)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class _Bars:
    """Two bars: the runs, and the epochs of the run under way."""

    def __init__(self, total: int, bars: Progress, protocols: bool) -> None:
        self.bars, self.protocols = bars, protocols
        self.runs = bars.add_task("runs", total=total)
        self.epochs = bars.add_task("", total=1, visible=False)

    def __call__(self, event: Event) -> None:
        if event.what is What.EPOCH:
            info = event.info
            done = info["phases"].index(info["phase"]) * info["epochs"] + info["epoch"]
            where = (
                f"{_name(event, self.protocols)} · {plain(info['phase'])} · epoch {info['epoch']}"
                f" · loss {info['loss']:.3g}"
            )
            self.bars.update(
                self.epochs,
                description=where,
                total=len(info["phases"]) * info["epochs"],
                completed=done,
                visible=True,
            )
        elif event.what in (What.DONE, What.FAILED, What.SKIPPED):
            self.bars.advance(self.runs)
            if event.what is What.FAILED:
                self.bars.console.print(_line(event, self.protocols), markup=False, highlight=False)
        elif event.what in (What.RESUMED, What.RETRIED, What.WAITING):
            self.bars.console.print(_line(event, self.protocols), markup=False, highlight=False)


def _line(event: Event, protocols: bool) -> str:
    """Which run, and what happened to it."""
    return f"{_name(event, protocols)}: {_sentence(event)}"


def _name(event: Event, protocols: bool) -> str:
    protocol = f"{event.spec.protocol} " if protocols else ""
    sweep = "".join(f" {key}={value}" for key, value in event.spec.cell.items())
    return plain(f"{protocol}{event.spec.regime} seed {event.spec.seed}{sweep}")


def _sentence(event: Event) -> str:
    return plain(_said(event))


def _said(event: Event) -> str:
    info = event.info
    match event.what:
        case What.STARTED:
            return f"training on {len(info['phases'])} phases"
        case What.RESUMED:
            return f"resumed after {info['done']} of {len(info['phases'])} phases"
        case What.RETRIED:
            return f"{info['reason']}; tried again in {info['delay']:g} s"
        case What.BOUNDARY:
            return f"{info['phase']} trained ({info['done']} of {len(info['phases'])})"
        case What.FAILED:
            again = " (not tried again; --retry-failed does)" if info.get("before") else ""
            return f"FAILED: {info['reason']}{again}"
        case What.WAITING:
            return "another process has this run; waiting for it"
        case What.SKIPPED:
            return "was done before"
        case _:
            return str(event.what)
