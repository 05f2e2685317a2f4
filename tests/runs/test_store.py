"""The store: where each run stands, what is damaged, and that a published run is whole."""

import errno
import json
import os
from pathlib import Path

import pytest

import clntk
from clntk.errors import DamagedRun, NewerFormat, StoreError
from clntk.protocol import expand, load
from clntk.runs.files import write_atomic
from clntk.runs.published import read_published
from clntk.runs.store import RunStore, State


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture
def spec(write_protocol, tmp_path):
    return expand(load(write_protocol(tmp_path)))[0]


def states(store):
    return {standing.run_id: standing.state for standing in store.standings()}


class TestStanding:
    def test_a_run_that_is_wanted_is_pending(self, store, spec):
        store.enrol([spec])
        (standing,) = store.standings()
        assert (standing.run_id, standing.state, standing.spec) == (spec.run_id, State.PENDING, spec)

    def test_a_run_with_a_boundary_is_interrupted(self, store, spec):
        store.enrol([spec])
        (store.work(spec.run_id) / "boundary.pt").touch()
        assert states(store) == {spec.run_id: State.INTERRUPTED}

    def test_a_locked_run_is_running_even_where_it_failed_before(self, store, spec):
        store.enrol([spec])
        store.fail(spec.run_id, {"reason": "it fell over"})
        with store.lock(spec.run_id):
            assert states(store) == {spec.run_id: State.RUNNING}
        assert states(store) == {spec.run_id: State.FAILED}

    def test_a_failure_is_told_and_can_be_cleared(self, store, spec):
        store.enrol([spec])
        store.fail(spec.run_id, {"reason": "it fell over"})
        assert store.standings()[0].note == "it fell over"
        store.clear_failure(spec.run_id)
        assert states(store) == {spec.run_id: State.PENDING}

    def test_published_runs_are_done(self, smoke_runs):
        standings = RunStore(smoke_runs.root).standings()
        assert {s.run_id: s.state for s in standings} == {run.run_id: State.DONE for run in smoke_runs}
        assert [s.run_id for s in standings] == sorted(run.run_id for run in smoke_runs)

    def test_a_missing_store_is_an_error_that_says_what_to_do(self, store):
        with pytest.raises(
            StoreError, match=r"found nothing at .*runs; check the path, or run a protocol first"
        ):
            store.standings()

    def test_an_empty_folder_has_no_runs(self, tmp_path):
        assert RunStore(tmp_path).standings() == []

    def test_folders_that_are_no_runs_are_left_out(self, smoke_copy):
        (smoke_copy / "results").mkdir()
        (smoke_copy / "results" / "comparison.csv").touch()
        (smoke_copy / "notes.txt").touch()
        assert len(RunStore(smoke_copy).standings()) == 4

    @pytest.mark.parametrize("content", [b"", b"a: [", b"protocol: x", b"\xff\xfe"])
    def test_unreadable_work_is_named_with_what_to_do(self, store, spec, content):
        store.enrol([spec])
        (store.work(spec.run_id) / "spec.yaml").write_bytes(content)
        (standing,) = store.standings()
        assert standing.state is State.DAMAGED
        assert "delete this folder and run its protocol again" in standing.note

    def test_locks_that_cannot_be_opened_do_not_hide_where_runs_stand(self, store, spec, monkeypatch):
        store.enrol([spec])
        with store.lock(spec.run_id):
            pass

        def refuse(*_):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr("filelock.FileLock._acquire", refuse)
        assert states(store) == {spec.run_id: State.PENDING}


class TestEnrol:
    def test_published_runs_are_not_enrolled(self, smoke_copy):
        store = RunStore(smoke_copy)
        store.enrol([standing.spec for standing in store.standings()])
        assert not list((smoke_copy / ".work").iterdir())

    def test_a_run_published_in_the_same_moment_is_no_error(self, store, spec, monkeypatch):
        def published_by_another(path, value):
            store.published(spec.run_id).mkdir()
            raise FileNotFoundError(path)

        monkeypatch.setattr("clntk.runs.store.write_yaml", published_by_another)
        store.enrol([spec])

    def test_a_folder_that_vanishes_is_an_error(self, store, spec, monkeypatch):
        def vanish(path, value):
            raise FileNotFoundError(path)

        monkeypatch.setattr("clntk.runs.store.write_yaml", vanish)
        with pytest.raises(FileNotFoundError):
            store.enrol([spec])


class TestPublish:
    def test_a_run_appears_whole_and_its_work_goes(self, store, spec):
        store.enrol([spec])
        folder = store.work(spec.run_id) / "publish"
        (folder / "weights").mkdir(parents=True)
        (folder / "weights" / "a").write_text("a")
        path = store.publish(spec.run_id, folder)
        assert (path / "weights" / "a").read_text() == "a"
        assert path == store.root / spec.run_id
        assert not store.work(spec.run_id).exists()

    def test_everything_is_on_the_disk_before_it_appears(self, store, spec, monkeypatch):
        store.enrol([spec])
        folder = store.work(spec.run_id) / "publish"
        folder.mkdir()
        (folder / "a").write_text("a")
        order, rename = [], Path.rename
        monkeypatch.setattr(os, "fsync", lambda fd: order.append(Path(f"/proc/self/fd/{fd}").readlink().name))
        monkeypatch.setattr(Path, "rename", lambda a, b: (order.append("rename"), rename(a, b))[1])
        store.publish(spec.run_id, folder)
        assert order == ["a", "publish", "rename", "runs"]


def break_file(name):
    return lambda run: (run / name).unlink()


def truncate(name):
    return lambda run: os.truncate(run / name, (run / name).stat().st_size - 1)


def rewrite(name, text):
    return lambda run: (run / name).write_text(text)


def flip(name):
    def change(run):
        data = bytearray((run / name).read_bytes())
        data[len(data) // 2] ^= 1
        (run / name).write_bytes(data)

    return change


DAMAGE = {
    "facts missing": (break_file("facts.nc"), "facts.nc is missing"),
    "facts truncated": (truncate("facts.nc"), r"facts.nc has \d+ bytes, expected \d+"),
    "weights missing": (break_file("weights/task1.safetensors"), "weights/task1.safetensors is missing"),
    "metrics truncated": (truncate("metrics.parquet"), "metrics.parquet has"),
    "log missing": (break_file("log.txt"), "log.txt is missing"),
    "spec missing": (break_file("spec.yaml"), "spec.yaml is missing"),
    "spec changed": (flip("spec.yaml"), "spec.yaml cannot be read"),
    "provenance missing": (break_file("provenance.json"), "provenance.json cannot be read"),

    "provenance empty": (rewrite("provenance.json", "{}"), "provenance.json cannot be read"),
    "provenance a list": (rewrite("provenance.json", "[]"), "provenance.json cannot be read"),
    "provenance without files": (rewrite("provenance.json", '{"format": 1}'), "provenance.json cannot be read"),
}  # fmt: skip


class TestDamage:
    @pytest.mark.parametrize("kind", list(DAMAGE))
    def test_damage_is_named_and_the_other_runs_stay_usable(self, smoke_copy, smoke_runs, kind):
        harm, message = DAMAGE[kind]
        victim = smoke_copy / smoke_runs.runs[0].run_id
        harm(victim)
        runs = clntk.open_runs(smoke_copy)
        assert [(s.run_id, s.state) for s in runs.others] == [(victim.name, State.DAMAGED)]
        assert len(runs.scalars(["average_accuracy"])) == len(runs) == 3
        with pytest.raises(DamagedRun, match=message) as error:
            read_published(victim)
        assert "move this folder away and run its protocol again" in str(error.value)
        with pytest.raises(DamagedRun, match=message):
            clntk.open_runs(victim)

    @pytest.mark.parametrize(
        ("name", "use"),
        [
            ("facts.nc", lambda run: run.fact("outputs")),
            ("metrics.parquet", lambda run: run.fact("metrics")),
            ("weights/task1.safetensors", lambda run: run.fact("weights")),
        ],
    )
    def test_a_flipped_bit_is_found_when_the_file_is_read(self, smoke_copy, name, use):
        run = clntk.open_runs(smoke_copy).runs[0]
        flip(name)(run.path)
        with pytest.raises(DamagedRun, match=f"{name} is not what was published .its checksum differs."):
            use(clntk.open_runs(run.path).runs[0])

    def test_a_damaged_run_is_not_taken_for_done(self, smoke_copy, smoke_runs):
        victim = smoke_copy / smoke_runs.runs[0].run_id
        (victim / "facts.nc").unlink()
        events = []
        runs = clntk.run("smoke", store=smoke_copy, listener=events.append)
        assert len(runs) == 3
        (failed,) = [event for event in events if event.what == "failed"]
        assert "facts.nc is missing; move this folder away" in failed.info["reason"]

    def test_doing_what_the_message_says_mends_it(self, smoke_copy, smoke_runs, tmp_path, differences):
        whole = smoke_runs.runs[0]
        victim = smoke_copy / whole.run_id
        (victim / "facts.nc").unlink()
        victim.rename(tmp_path / "away")
        assert len(clntk.run("smoke", store=smoke_copy)) == 4
        assert differences(whole.path, victim) == []


class TestNewerFormat:
    @pytest.fixture
    def newer(self, smoke_copy, smoke_runs):
        path = smoke_copy / smoke_runs.runs[0].run_id / "provenance.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "files": "as they will be"}))
        return path.parent

    def test_a_run_of_a_later_clntk_asks_for_it(self, newer):
        with pytest.raises(NewerFormat, match=r"has format 2, this clntk reads up to 1; update clntk"):
            clntk.open_runs(newer)

    def test_it_is_no_damage_and_the_others_stay_usable(self, newer):
        runs = clntk.open_runs(newer.parent)
        assert len(runs) == 3
        assert [s.state for s in runs.others] == [State.NEWER]
        assert "update clntk" in runs.others[0].note


def test_nothing_unsafe_is_read_from_yaml(store, spec):
    store.enrol([spec])
    path = store.work(spec.run_id) / "spec.yaml"
    hostile = "!!python/object/apply:os.mkdir [" + json.dumps(str(store.root / "owned")) + "]"
    path.write_text(hostile)
    assert store.standings()[0].state is State.DAMAGED
    assert not (store.root / "owned").exists()


class TestFiles:
    def test_whoever_reads_a_file_sees_the_old_or_the_new_whole(self, tmp_path):
        path = tmp_path / "file"
        write_atomic(path, b"old and long")
        with path.open("rb") as reader:
            write_atomic(path, b"new")
            assert reader.read() == b"old and long"
        assert path.read_bytes() == b"new"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        def full(fd):
            raise OSError(errno.ENOSPC, "No space left on device")

        path = tmp_path / "file"
        write_atomic(path, b"old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_atomic(path, b"new")
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
