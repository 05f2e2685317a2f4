"""Progress: bars on a terminal, lines in a log, nothing that can end a run."""

import io
import re

import pytest
from rich.console import Console

from clntk.protocol import expand, load
from clntk.runs.events import Event, What
from clntk.terminal import progress as progress_module
from clntk.terminal.progress import measuring, progress

PHASES = ["A", "[/red]B"]  # a stranger's name for a phase may look like markup
INFO = {
    What.STARTED: {"phases": PHASES},
    What.RESUMED: {"phases": PHASES, "done": 1},
    What.EPOCH: {"phases": PHASES, "phase": "[/red]B", "epoch": 2, "epochs": 3, "loss": 0.123456},
    What.BOUNDARY: {"phases": PHASES, "phase": "[/red]B", "done": 2},
    What.DONE: {},
    What.FAILED: {"reason": "lost [bold]nerve"},
    What.SKIPPED: {},
    What.WAITING: {},
    What.RETRIED: {"reason": "OSError: [bold]stale", "delay": 4.0},
}


@pytest.fixture
def spec(write_protocol, tmp_path):
    return expand(load(write_protocol(tmp_path), ["sweep={model.init_scale: [[1.0, 2.0]]}"]))[0]


def shown(events, *, terminal, total=3):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=150)
    with progress(total, console) as listener:
        for event in events:
            listener(event)
    return console.file.getvalue()


def test_every_event_has_an_example():
    assert set(INFO) == set(What)


def test_a_log_has_one_line_for_each_thing_worth_one(spec):
    out = shown([Event(what, spec, info) for what, info in INFO.items()], terminal=False)
    assert "\x1b" not in out
    name = "plain seed 0 model.init_scale=[1.0, 2.0]"
    assert [re.sub(r"^ +\d+\.\ds ", "", line) for line in out.splitlines()] == [
        f"[0/3] {name}: training on 2 phases",
        f"[0/3] {name}: resumed after 1 of 2 phases",
        f"[0/3] {name}: [/red]B trained (2 of 2)",
        f"[1/3] {name}: done",
        f"[2/3] {name}: FAILED: lost [bold]nerve",
        f"[3/3] {name}: was done before",
        f"[3/3] {name}: another process has this run; waiting for it",
        f"[3/3] {name}: OSError: [bold]stale; tried again in 4 s",
    ]


def test_a_failure_of_before_says_how_to_try_again(spec):
    failed = Event(What.FAILED, spec, {"reason": "lost", "before": True})
    for terminal in (True, False):
        assert "FAILED: lost (not tried again; --retry-failed does)" in shown([failed], terminal=terminal)


def test_bars_take_every_event(spec):
    out = shown([Event(what, spec, info) for what, info in INFO.items()], terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
    assert "· [/red]B · epoch 2 · loss 0.123" in plain
    assert "5/6" in plain  # the second epoch of the second phase
    assert "3/3" in plain  # one done, one failed, one skipped
    assert "FAILED: lost [bold]nerve" in plain
    assert "resumed after 1 of 2 phases" in plain
    assert "another process has this run" in plain


def test_bars_end_where_a_run_is_interrupted(spec):
    console = Console(file=io.StringIO(), force_terminal=True, width=150)

    def interrupted():
        with progress(1, console) as listener:
            listener(Event(What.EPOCH, spec, INFO[What.EPOCH]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize("terminal", [False, True])
def test_measuring_is_told(terminal, monkeypatch):
    monkeypatch.setattr(progress_module, "PACE", 0)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=150)
    with measuring(console) as watch:
        watch("[bold]mine", 3, 7)
    shown = console.file.getvalue()
    assert "[bold]mine" in shown
    assert ("3/7" if terminal else "3 of 7 runs measured") in shown


def test_what_is_measured_in_a_moment_says_nothing_in_a_log():
    console = Console(file=io.StringIO(), force_terminal=False)
    with measuring(console) as watch:
        watch("mine", 3, 7)
    assert console.file.getvalue() == ""


def test_commands_on_runs_tell_how_far_they_are_apart_from_their_results(smoke_copy, cli, monkeypatch):
    monkeypatch.setattr(progress_module, "PACE", 0)
    for words in (["analyze", "forgetting", smoke_copy], ["compare", smoke_copy]):
        done = cli(*words)
        assert done.code == 0
        assert "1 of 4 runs measured" in done.err
        assert "measured" not in done.out
