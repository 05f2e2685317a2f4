"""What goes wrong is said in a sentence that names what to do, and harms nothing that was done before."""

import errno
import json
import os
import re

import pytest
import xarray as xr

import clntk
from clntk.errors import ClntkError, ProtocolError, StoreError
from clntk.runs.store import RunStore, State

FULL = OSError(errno.ENOSPC, "No space left on device")
WILD = {
    "model": {"name": "mlp", "width": 4, "depth": 1, "activation": "identity"},
    "regimes": {"calm": {"name": "standard"}, "wild": {"name": "init_scale", "scale": 100.0}},
}


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def counted(monkeypatch):
    """Makes the n-th time that something is written for good go wrong; tells how often that was."""
    fsync = os.fsync

    def arm(n, error):
        calls = []

        def sometimes(fd):
            calls.append(fd)
            if len(calls) == n:
                raise error
            fsync(fd)

        monkeypatch.setattr(os, "fsync", sometimes)
        return calls

    yield arm
    monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture(scope="module")
def whole(write_protocol, tmp_path_factory):
    """A small protocol, and the run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_protocol(folder, measures=["average_accuracy"])
    (run,) = clntk.run(path, store=folder / "runs")
    return path, run


class TestDisk:
    def test_whichever_write_fails_the_same_command_mends_it(self, whole, tmp_path, counted, differences):
        path, run = whole
        calls = counted(0, None)
        clntk.run(path, store=tmp_path / "counting")
        assert len(calls) > 15
        for n in range(1, len(calls) + 1):
            store = tmp_path / f"runs{n}"
            counted(n, FULL if n % 2 else KeyboardInterrupt())
            with pytest.raises((StoreError, KeyboardInterrupt)):
                clntk.run(path, store=store)
            standings = RunStore(store).standings()
            assert {s.state for s in standings} <= {State.PENDING, State.INTERRUPTED, State.DONE}
            counted(0, None)
            (again,) = clntk.run(path, store=store)
            assert differences(run.path, again.path) == []
            assert not list((store / ".work").iterdir())

    def test_earlier_runs_stay_as_they_are_and_the_failed_one_resumes(
        self, write_protocol, tmp_path, counted
    ):
        path, store = write_protocol(tmp_path), tmp_path / "runs"
        (first,) = clntk.run(path, store=store)
        before = files_of(first.path)
        with pytest.raises(
            StoreError,
            match=r"the disk is full; nothing published was touched\. Choose another folder with --store",
        ):
            self.run_two(path, store, counted)
        assert files_of(first.path) == before
        assert [s.state for s in RunStore(store).standings()] == [State.DONE, State.INTERRUPTED]
        counted(0, None)
        events = []
        assert len(clntk.run(path, ["seeds=2"], store=store, listener=events.append)) == 2
        assert [e.info["done"] for e in events if e.what == "resumed"] == [1]

    @staticmethod
    def run_two(path, store, counted):
        counted(8, FULL)  # the record of the second phase
        clntk.run(path, ["seeds=2"], store=store)

    def test_facts_are_whole_before_the_disk_sees_them(self, write_protocol, tmp_path, monkeypatch):
        """HDF5 ends the process with a segmentation fault where a disk fills up under an open file."""
        targets, really = [], xr.DataTree.to_netcdf

        def remember(tree, target=None, **options):
            targets.append(target)
            return really(tree, target, **options)

        monkeypatch.setattr(xr.DataTree, "to_netcdf", remember)
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs")
        assert targets == [None]  # memory

    @pytest.mark.parametrize(
        ("code", "why"), [(errno.EROFS, "the disk is read-only"), (errno.EACCES, "permission denied")]
    )
    def test_a_store_that_cannot_be_written_to(self, write_protocol, tmp_path, monkeypatch, cli, code, why):
        def refuse(*_, **__):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
        done = cli("run", write_protocol(tmp_path), "--store", tmp_path / "runs")
        assert done.code == 1
        assert f"cannot write to the store {tmp_path / 'runs'}: {why}" in done.err
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize("store", ["file", "file/runs"])
    def test_a_file_where_the_store_should_be(self, write_protocol, tmp_path, cli, store):
        (tmp_path / "file").write_text("mine")
        done = cli("run", write_protocol(tmp_path), "--store", tmp_path / store)
        assert done.code == 1
        assert "part of the path is a file" in done.err
        assert (tmp_path / "file").read_text() == "mine"

    @pytest.mark.parametrize("command", [("analyze", "forgetting"), ("compare",)])
    def test_results_that_cannot_be_written(self, smoke_runs, tmp_path, cli, command):
        (tmp_path / "file").touch()
        done = cli(*command, smoke_runs.root, "--out", tmp_path / "file")
        assert done.code == 1
        assert "cannot write to the results" in done.err
        assert "with --out" in done.err

    def test_what_a_killed_process_was_writing_is_not_published(self, write_protocol, tmp_path, differences):
        path = write_protocol(tmp_path)

        def kill(event):
            if event.what == "boundary":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            clntk.run(path, store=tmp_path / "runs", listener=kill)
        (work,) = (tmp_path / "runs" / ".work").iterdir()
        (work / "weights" / ".B.safetensors.123.tmp").write_text("half a fi")
        (work / "publish").mkdir()
        (work / "publish" / "facts.nc").write_text("half a fi")
        (run,) = clntk.run(path, store=tmp_path / "runs")
        (whole,) = clntk.run(path, store=tmp_path / "whole")
        assert differences(whole.path, run.path) == []

    def test_a_damaged_boundary_says_what_to_delete(self, write_protocol, tmp_path):
        path, store = write_protocol(tmp_path), tmp_path / "runs"
        RunStore(store).enrol(clntk.protocol.expand(clntk.protocol.load(path)))
        (work,) = (store / ".work").iterdir()
        (work / "boundary.pt").write_text("not a boundary")
        with pytest.raises(ClntkError, match=f"delete {re.escape(str(work))} and run the same command again"):
            clntk.run(path, store=store)
        for file in work.iterdir():
            file.unlink()
        work.rmdir()
        assert len(clntk.run(path, store=store)) == 1


class TestProtocol:
    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("stream.n_task=3", "stream.n_task: expected a known key, found unknown key 'n_task'; did you mean 'n_ta"),
            ("model.name=mpl", "model.name: expected the name of a registered model, found 'mpl'; did you mean 'mlp'"),
            ("stream.n_tasks=1", "stream.n_tasks: expected greater than or equal to 2, found 1"),
            ("strategy.epochs=many", "strategy.epochs: expected a valid integer, found 'many'"),
            ("seed=3", "seed: expected a known key, found unknown key 'seed'; did you mean 'seeds'"),
            ("seeds", "seeds: expected key=value, found 'seeds'; for example seeds=5"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_named_before_anything_is_written(self, tmp_path, cli, override, message):
        done = cli("run", "smoke", override, "--store", tmp_path / "runs")
        assert done.code == 1
        assert message in done.err
        assert not (tmp_path / "runs").exists()

    def test_an_unknown_engine_leaves_nothing_behind(self, tmp_path, cli):
        done = cli("run", "smoke", "--engine", "serail", "--store", tmp_path / "runs")
        assert done.code == 1
        assert "no engine is called 'serail'; did you mean 'serial'?" in done.err
        assert not (tmp_path / "runs").exists()

    def test_an_unknown_protocol(self, cli):
        done = cli("run", "smok")
        assert done.code == 1
        assert "did you mean 'smoke'?" in done.err


class TestFailingRuns:
    @pytest.fixture
    def wild(self, write_protocol, tmp_path):
        return write_protocol(tmp_path, **WILD), tmp_path / "runs"

    def test_a_run_that_diverges_fails_alone_and_says_where(self, wild, cli):
        done = cli("run", wild[0], "--store", wild[1])
        assert done.code == 1
        assert "1 of 2 runs done" in done.out
        assert "FAILED: training diverged" in done.out
        assert re.search(
            r"1 failed; the first says: training diverged: the loss became \w+ at step \d+, while", done.err
        )
        status = cli("status", wild[1])
        assert status.code == 0
        assert "training on A; lower strategy.lr, or the scale that the regime sets" in status.out

    def test_weights_lost_in_the_very_last_step_are_noticed(self, write_protocol, tmp_path):
        one_step = {"name": "joint", "epochs": 1, "batch_size": None, "lr": 1e35}
        path = write_protocol(tmp_path, strategy=one_step, model=WILD["model"])
        with pytest.raises(ClntkError, match=r"the loss became (inf|nan) at step 1, while training on joint"):
            clntk.run(path, store=tmp_path / "runs")

    def test_the_step_and_task_of_a_divergence_are_kept(self, wild):
        runs = clntk.run(wild[0], store=wild[1])
        assert runs.regimes == ["calm"]
        (failed,) = runs.failures
        failure = RunStore(wild[1]).failure(failed.run_id)
        assert failure["task"] == "A"
        assert f"at step {failure['step']}," in failure["reason"]
        assert 1 < failure["step"] <= 6
        assert "traceback" not in failure

    def test_it_is_tried_again_only_on_request(self, wild, cli):
        cli("run", wild[0], "--store", wild[1])
        again = cli("run", wild[0], "--store", wild[1])
        assert again.code == 1
        assert "(not tried again; --retry-failed does)" in again.out
        assert "training on" not in again.out.replace("while training on", "")
        assert "0 of 2 runs done, 1 done before" in again.out
        retried = cli("run", wild[0], "--store", wild[1], "--retry-failed")
        assert retried.code == 1
        assert "wild seed 0: training on 2 phases" in retried.out
        assert "not tried again" not in retried.out

    def test_resume_tells_of_it_too(self, wild, cli):
        cli("run", wild[0], "--store", wild[1])
        done = cli("resume", wild[1])
        assert done.code == 1
        assert "not tried again" in done.out

    def test_all_runs_failing_is_an_error(self, write_protocol, tmp_path):
        path = write_protocol(tmp_path, **{**WILD, "regimes": {"wild": WILD["regimes"]["wild"]}})
        with pytest.raises(ClntkError, match="all 2 runs failed; the first says: training diverged"):
            clntk.run(path, ["seeds=2"], store=tmp_path / "runs")

    def test_data_that_is_not_there(self, tmp_path, cli):
        done = cli("run", "smoke", "stream.data_root=/nope", "seeds=1", "--store", tmp_path / "runs")
        assert done.code == 1
        assert (
            "expected a folder with images.npy and labels.npy, found nothing at /nope; check the path"
            in done.err
        )
        assert not (tmp_path / "runs").exists()


BROKEN = '''
from clntk.registry import get, register


@register("stream")
def broken(seeds, *, how: str = "fine"):
    """Two contexts, or trouble."""
    if how == "index":
        return [][0]
    if how == "permission":
        raise PermissionError(13, "Permission denied", "/data/secret.npy")
    if how == "nothing":
        return None
    return get("stream", "context_blobs")(seeds)
'''


class TestUsersCode:
    @pytest.fixture
    def protocol(self, write_protocol, tmp_path):
        (tmp_path / "my_stream.py").write_text(BROKEN)
        return write_protocol(
            tmp_path, stream={"name": "broken"}, use=["my_stream.py"], sweep={"stream.how": ["index", "fine"]}
        )

    def test_an_unexpected_error_fails_one_run_and_keeps_its_traceback(self, protocol, tmp_path):
        runs = clntk.run(protocol, store=tmp_path / "runs")
        assert [run.spec.stream["how"] for run in runs] == ["fine"]
        (failed,) = runs.failures
        assert failed.note == "IndexError: list index out of range"
        failure = json.loads((tmp_path / "runs" / ".work" / failed.run_id / "failure.json").read_text())
        assert failure["kind"] == "IndexError"
        assert "my_stream.py" in failure["traceback"]

    def test_it_is_tried_again_without_being_asked(self, protocol, tmp_path):
        clntk.run(protocol, store=tmp_path / "runs")
        events = []
        clntk.run(protocol, store=tmp_path / "runs", listener=events.append)
        assert [(e.what, "before" in e.info) for e in events if e.what != "skipped"] == [("failed", False)]

    def test_trouble_with_the_users_data_is_no_trouble_with_the_store(self, protocol, tmp_path):
        runs = clntk.run(protocol, ["sweep={stream.how: [permission, fine]}"], store=tmp_path / "runs")
        assert len(runs) == 1
        assert runs.failures[0].note.startswith("PermissionError: ")

    def test_a_stream_that_hands_back_nothing_is_refused_before_anything_is_written(self, protocol, tmp_path):
        with pytest.raises(
            ProtocolError, match="expected a TaskStream back from its function, found NoneType"
        ):
            clntk.run(protocol, ["sweep={stream.how: [nothing, fine]}"], store=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_changed_code_is_another_run_and_does_not_resume(self, protocol, tmp_path, cli):
        store = tmp_path / "runs"
        cli("run", protocol, "--store", store)
        (tmp_path / "my_stream.py").write_text(BROKEN.replace('how == "index"', 'how == "other"'))
        stale = cli("resume", store)
        assert stale.code == 1
        assert "my_stream.py: expected the stream 'broken' that small-plain-s0-" in stale.err
        assert "changed code makes a new run" in stale.err
        assert cli("run", protocol, "--store", store).code == 0
        assert len(clntk.open_runs(store)) == 3

    def test_a_file_that_is_gone(self, protocol, tmp_path, cli):
        cli("run", protocol, "--store", tmp_path / "runs")
        (tmp_path / "my_stream.py").unlink()
        done = cli("resume", tmp_path / "runs")
        assert done.code == 1
        assert "my_stream.py: expected the stream 'broken', found the file gone; put it back" in done.err
