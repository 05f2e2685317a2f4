"""Errors that pass are waited out; those that do not are not."""

import errno

import pytest

import clntk
from clntk.runs import transient
from clntk.runs.events import What
from clntk.runs.session import Session


@pytest.fixture
def failing(monkeypatch):
    """Makes what a run saves at its task boundaries go wrong, with these errors, one after the other."""

    def arm(*errors):
        waits, left, save = [], list(errors), Session._save_boundary

        def sometimes(session, path):
            if left:
                raise left.pop(0)
            save(session, path)

        monkeypatch.setattr(Session, "_save_boundary", sometimes)
        monkeypatch.setattr("time.sleep", waits.append)
        return waits

    return arm


STALE = OSError(errno.ESTALE, "Stale file handle")


def test_a_hiccup_is_waited_out_longer_each_time_and_leaves_no_trace(
    write_protocol, tmp_path, failing, differences
):
    path, events = write_protocol(tmp_path), []
    (whole,) = clntk.run(path, store=tmp_path / "whole")
    waits = failing(STALE, ConnectionResetError("gone"), TimeoutError("late"))
    (run,) = clntk.run(path, store=tmp_path / "runs", listener=events.append)
    assert waits == [1.0, 4.0, 16.0] == list(transient.DELAYS)
    told = [(e.info["reason"], e.info["delay"]) for e in events if e.what is What.RETRIED]
    assert told == [
        ("OSError: [Errno 116] Stale file handle", 1.0),
        ("ConnectionResetError: gone", 4.0),
        ("TimeoutError: late", 16.0),
    ]
    assert differences(whole.path, run.path) == []


def test_what_does_not_pass_fails_in_the_end_with_its_reason(write_protocol, tmp_path, failing):
    waits = failing(*4 * [STALE])
    with pytest.raises(clntk.ClntkError, match="Stale file handle"):
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs")
    assert len(waits) == 3


@pytest.mark.parametrize("error", [ValueError("no"), OSError(errno.ENOENT, "not there"), MemoryError()])
def test_other_errors_are_not_tried_again(write_protocol, tmp_path, failing, error):
    waits = failing(error)
    with pytest.raises(clntk.ClntkError):
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs")
    assert waits == []


def test_runs_trained_together_are_tried_again_too(write_protocol, tmp_path, failing):
    waits = failing(STALE)
    runs = clntk.run(write_protocol(tmp_path), ["seeds=2"], store=tmp_path / "runs", together=True)
    assert len(runs) == 2
    assert waits == [1.0]
