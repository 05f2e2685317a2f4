"""An interrupt that Python drops on the way is raised again."""

import os
import signal
import threading

import pytest

import clntk
from clntk.runs.interrupt import Terminated


class Dropping:
    """Interrupts itself at the first epoch, and drops the exception, as Python does in a collector's callback."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(str(event.what))
        if self.events.count("epoch") == 1 and event.what == "epoch":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(100_000):  # the handler runs between two bytecodes
                    pass
            except KeyboardInterrupt:
                self.events.append("dropped")


def test_an_interrupt_that_was_dropped_is_raised_at_the_next_event(write_protocol, tmp_path):
    listener = Dropping()
    with pytest.raises(KeyboardInterrupt):
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs", listener=listener)
    assert listener.events[-1] == "dropped"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_users_own_stays(write_protocol, tmp_path):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("theirs"))
    try:
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs", listener=Dropping())
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["theirs"]


def test_it_runs_off_the_main_thread(write_protocol, tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(len(clntk.run(write_protocol(tmp_path), store=tmp_path / "runs")))
    )
    thread.start()
    thread.join(timeout=120)
    assert done == [1]


class Terminating:
    """Sends itself SIGTERM in the first epoch of the first task, so many times."""

    def __init__(self, times):
        self.events, self.times = [], times

    def __call__(self, event):
        self.events.append(str(event.what))
        if self.events.count("epoch") == 1 and event.what == "epoch":
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGTERM)


def test_asked_to_end_it_finishes_the_task_saves_and_stops_and_the_same_command_goes_on(
    write_protocol, tmp_path, differences
):
    path, listener = write_protocol(tmp_path), Terminating(1)
    with pytest.raises(Terminated) as end:
        clntk.run(path, store=tmp_path / "runs", listener=listener)
    assert end.value.code == 143
    assert listener.events == ["started", "epoch", "epoch", "boundary"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    events = []
    (run,) = clntk.run(path, store=tmp_path / "runs", listener=lambda event: events.append(str(event.what)))
    assert events[0] == "resumed"
    (whole,) = clntk.run(path, store=tmp_path / "whole")
    assert differences(whole.path, run.path) == []


def test_asked_twice_it_stops_at_once(write_protocol, tmp_path):
    listener = Terminating(2)
    with pytest.raises(Terminated):
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs", listener=listener)
    assert listener.events == ["started", "epoch"]


def test_a_handler_of_the_users_own_for_sigterm_stays(write_protocol, tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("theirs"))
    try:
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs", listener=Terminating(2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["theirs", "theirs"]
