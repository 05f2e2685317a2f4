"""Real processes: killed, interrupted, two at once; nothing is lost and every bit comes out the same."""

import json
import os
import re
import signal

from processes import PATIENCE, wait_for_a_boundary

import clntk
from clntk.runs.store import RunStore, State


def killed(process, store, spec):
    """What a process said until it was killed in the middle of a run."""
    wait_for_a_boundary(store, spec, process)
    os.kill(process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    states = {s.run_id: s.state for s in RunStore(store).standings()}
    assert states[spec.run_id] is State.INTERRUPTED
    return out


def test_a_killed_process_run_again_resumes_to_the_same_bits(
    long_protocol, naive_and_replay, whole, start, tmp_path, cli, differences
):
    store, command = tmp_path / "runs", ["run", long_protocol, "--store", tmp_path / "runs"]
    naive, replay = naive_and_replay
    killed(start(*command), store, naive)
    status = cli("status", store).out
    assert re.search(r"long +interrupted +1", status)
    assert re.search(r"long +pending +1", status)

    out = killed(start(*command), store, replay)
    assert re.search(r"seed 0 strategy.name=naive: resumed after [123] of 4 phases", out)
    assert "seed 0 strategy.name=naive: done" in out
    assert differences(whole / naive.run_id, store / naive.run_id) == []
    assert not (store / replay.run_id).exists()

    again = cli(*command)
    assert again.code == 0
    assert re.search(r"seed 0 strategy.name=replay: resumed after [123] of 4 phases", again.out)
    assert "1 of 2 runs done, 1 done before" in again.out
    assert differences(whole / replay.run_id, store / replay.run_id) == []
    assert not list((store / ".work").iterdir())


def test_an_interrupt_says_how_to_go_on_and_resume_does(
    long_protocol, naive_and_replay, whole, start, tmp_path, cli, differences
):
    store = tmp_path / "runs"
    process = start("run", long_protocol, "seeds=[0]", "--store", store)
    wait_for_a_boundary(store, naive_and_replay[0], process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted: everything up to the last task boundary is saved; go on with" in err
    assert f"clntk run {long_protocol} 'seeds=[0]' --store {store}" in err
    assert "Traceback" not in out + err
    assert "FAILED" not in out

    done = cli("resume", store)
    assert done.code == 0
    assert "2 of 2 runs done" in done.out
    assert re.search(r"strategy.name=naive: resumed after [123] of 4 phases", done.out)
    assert "strategy.name=replay: training on 4 phases" in done.out
    assert [differences(whole / s.run_id, store / s.run_id) for s in naive_and_replay] == [[], []]
    assert "nothing to resume: 2 runs" in cli("resume", store).out


CLOCK = """
import datetime, pathlib, time

now, real, place = time.time, datetime.datetime, pathlib.Path(__file__).parent / "first"
try:
    place.touch(exist_ok=False)
    ahead = 0
    while not place.with_name("second").exists():
        time.sleep(0.001)
except FileExistsError:
    place.with_name("second").touch()
    ahead = 86400  # the second process that comes here is on a machine whose clock is a day ahead


class Shifted(real):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=ahead)


time.time, datetime.datetime = lambda: now() + ahead, Shifted
"""


def test_two_processes_on_one_store_share_the_work_whatever_their_clocks_say(
    write_protocol, start, tmp_path, differences
):
    (tmp_path / "clock.py").write_text(CLOCK)
    path, store = write_protocol(tmp_path, use=["clock.py"]), tmp_path / "runs"
    processes = [start("run", path, "seeds=5", "--store", store) for _ in range(2)]
    ended = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    trained = [re.findall(r"seed (\d): B trained", out) for out, _ in ended]
    assert sorted(trained[0] + trained[1]) == [str(seed) for seed in range(5)]  # each once

    runs = clntk.open_runs(store)
    assert runs.seeds == list(range(5))
    assert runs.others == []
    assert not list((store / ".work").iterdir())
    day = {}
    for run in runs:  # reading checks every checksum
        assert {"outputs", "kernels"} < set(run.tree.children)
        assert run.fact("weights").sizes["checkpoint"] == len(run.fact("metrics").checkpoint) == 3
        provenance = json.loads((run.path / "provenance.json").read_text())
        assert provenance["run"] == run.run_id
        day[str(run.spec.seed)] = provenance["finished"][:10]
    days = [{day[seed] for seed in seeds} for seeds in trained]
    assert days[0].isdisjoint(days[1])
    alone = start("run", path, "--store", tmp_path / "whole")
    _, err = alone.communicate(timeout=PATIENCE)
    assert alone.returncode == 0, err
    (whole,) = clntk.open_runs(tmp_path / "whole")
    assert differences(whole.path, store / whole.run_id) == []
