"""A store looked through: each damage is named, and put right without losing anything."""

import json
import os
import re
import shutil

import pytest

import clntk
from clntk.errors import StoreError
from clntk.runs.doctor import ASIDE, examine, repair
from clntk.runs.files import sha256
from clntk.runs.store import RunStore, State


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": (lambda run: os.truncate(run / "facts.nc", 50), r"facts.nc has 50 bytes, expected \d+"),
    "flipped": (
        lambda run: flip(run / "weights" / "init.safetensors"),
        "weights/init.safetensors is not what was",
    ),
    "missing": (lambda run: (run / "metrics.parquet").unlink(), "metrics.parquet is missing"),
    "spec": (lambda run: flip(run / "spec.yaml"), "spec.yaml cannot be read"),
    "provenance": (lambda run: (run / "provenance.json").write_text("{"), "provenance.json cannot be read"),
    "stranger": (lambda run: (run / "x.py").write_text(""), "x.py is a file that was not published with it"),
    "link": (lambda run: (run / "x").symlink_to("/etc"), "x is a link that was not published with it"),
}


def test_a_sound_store_has_nothing_wrong(smoke_copy):
    assert list(examine(smoke_copy)) == []
    before = files_of(smoke_copy)
    assert repair(smoke_copy) == []
    (smoke_copy / ".index.json").unlink()
    before.pop(".index.json")
    assert files_of(smoke_copy) == before


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_damage_is_named_moved_aside_and_computed_again(smoke_copy, smoke_runs, kind, cli, differences):
    harm, said = DAMAGE[kind]
    victim = smoke_copy / smoke_runs.runs[0].run_id
    harm(victim)
    (finding,) = examine(smoke_copy)
    assert (finding.path, finding.damaged) == (victim.name, True)
    assert re.match(said, finding.what)
    kept = files_of(victim)
    assert cli("doctor", smoke_copy).code == 1
    assert files_of(victim) == kept
    assert cli("doctor", smoke_copy, "--repair").code == 0
    assert not victim.exists()
    assert files_of(smoke_copy / ASIDE / f"{victim.name}-0") == kept
    if kind not in ("spec",):  # of which nobody can tell what it was
        assert cli("resume", smoke_copy).code == 0
    clntk.run("smoke", store=smoke_copy)
    assert differences(smoke_runs.root / victim.name, victim) == []
    assert list(examine(smoke_copy)) == []


def test_the_same_run_damaged_twice_is_kept_twice(smoke_copy, smoke_runs):
    victim = smoke_copy / smoke_runs.runs[0].run_id
    for n in range(2):
        (victim / "facts.nc").write_text(str(n))
        repair(smoke_copy)
        shutil.copytree(smoke_runs.runs[0].path, victim)
    assert {p.name for p in (smoke_copy / ASIDE).iterdir()} == {f"{victim.name}-0", f"{victim.name}-1"}


def test_a_run_under_the_name_of_another_is_found(smoke_copy, smoke_runs):
    names = [run.run_id for run in smoke_runs]
    shutil.rmtree(smoke_copy / names[0])
    shutil.copytree(smoke_copy / names[1], smoke_copy / names[0])
    (finding,) = examine(smoke_copy)
    assert (finding.path, finding.what) == (names[0], f"its spec is that of {names[1]}")


def test_leftovers_without_numbers_are_removed_and_what_holds_some_is_kept(smoke_copy, smoke_runs):
    done = smoke_runs.runs[0].run_id
    work = smoke_copy / ".work"
    (work / done).mkdir()
    (work / "nothing").mkdir()
    (smoke_copy / ".index.json.99.tmp").write_text("half")
    found = {finding.path: finding for finding in repair(smoke_copy)}
    assert set(found) == {f".work/{done}", ".work/nothing", ".index.json.99.tmp"}
    assert not any(finding.damaged for finding in found.values())
    assert list(work.iterdir()) == []
    assert len(clntk.open_runs(smoke_copy)) == 4


def test_a_task_boundary_that_cannot_be_read_starts_its_run_anew(write_protocol, tmp_path, differences):
    def stop(event):
        if event.what == "boundary":
            raise KeyboardInterrupt

    path, store = write_protocol(tmp_path), tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt):
        clntk.run(path, store=store, listener=stop)
    (standing,) = RunStore(store).standings()
    assert list(examine(store)) == []
    os.truncate(store / ".work" / standing.run_id / "boundary.pt", 40)
    (finding,) = repair(store)
    assert (finding.path, finding.what) == (f".work/{standing.run_id}", "boundary.pt cannot be read")
    assert [s.state for s in RunStore(store).standings()] == [State.PENDING]
    (run,) = clntk.run(path, store=store)
    (whole,) = clntk.run(path, store=tmp_path / "whole")
    assert differences(whole.path, run.path) == []


def test_a_run_that_a_process_is_at_is_left_alone(write_protocol, tmp_path):
    path, store, seen = write_protocol(tmp_path), tmp_path / "runs", []

    def look(event):
        if event.what == "boundary":
            seen.append(list(repair(store)))

    assert len(clntk.run(path, store=store, listener=look)) == 1
    assert seen == [[], []]


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="expected a folder of runs, found nothing at"):
        list(examine(tmp_path / "none"))


def test_a_run_from_the_future_is_as_good_as_any(smoke_copy, smoke_runs):
    for path in (smoke_copy / smoke_runs.runs[0].run_id).rglob("*"):
        os.utime(path, (2**33, 2**33))
    assert list(examine(smoke_copy)) == []
    assert len(clntk.run("smoke", store=smoke_copy)) == 4


def test_checksums_are_compared_with_those_of_publication(smoke_copy, smoke_runs):
    run = smoke_copy / smoke_runs.runs[0].run_id
    published = json.loads((run / "provenance.json").read_text())["files"]
    assert all(sha256(run / name) == facts["sha256"] for name, facts in published.items())
