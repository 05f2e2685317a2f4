"""The index of a store makes it quick to open, and changes nothing else."""

import json
import os

import pytest

import clntk
from clntk.runs.index import INDEX
from clntk.runs.store import RunStore, State


@pytest.fixture
def reads(monkeypatch):
    """The folders that were read, not looked up."""
    from clntk.runs import index

    found, real = [], index.read_published
    monkeypatch.setattr(index, "read_published", lambda folder: found.append(folder.name) or real(folder))
    return found


def states(store):
    return {s.run_id: (s.state, s.spec) for s in RunStore(store).standings()}


def test_each_run_is_read_once_and_not_again(smoke_copy, reads):
    (smoke_copy / INDEX).unlink(missing_ok=True)
    first = states(smoke_copy)
    assert len(reads) == len(first) == 4
    reads.clear()
    assert states(smoke_copy) == first
    assert len(clntk.open_runs(smoke_copy)) == 4
    assert reads == []


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[1]", b'{"version": 99, "runs": {}}', b'{"version": 1, "runs": {"a": 1}}', b"\xff"],
)
def test_without_one_or_with_a_damaged_one_all_is_as_before(smoke_copy, reads, content):
    before = states(smoke_copy)
    if content is None:
        (smoke_copy / INDEX).unlink()
    else:
        (smoke_copy / INDEX).write_bytes(content)
    reads.clear()
    assert states(smoke_copy) == before
    assert len(reads) == 4
    assert json.loads((smoke_copy / INDEX).read_text())["version"] == 1


@pytest.mark.parametrize(
    "entry", [{}, [], {"stamps": 1, "files": 2}, {"stamps": {}, "files": {}, "spec": {"no": 1}}]
)
def test_entries_that_are_none_are_read_again(smoke_copy, entry):
    before = states(smoke_copy)
    content = json.loads((smoke_copy / INDEX).read_text())
    content["runs"] = dict.fromkeys(content["runs"], entry)
    (smoke_copy / INDEX).write_text(json.dumps(content))
    assert states(smoke_copy) == before


def test_what_happened_to_a_run_since_is_seen(smoke_copy, reads):
    before = states(smoke_copy)
    reads.clear()
    gone, short, changed, same = sorted(before)
    for path in (smoke_copy / gone).rglob("*"):
        if path.is_file():
            path.unlink()
    os.truncate(smoke_copy / short / "facts.nc", 10)
    spec = smoke_copy / changed / "spec.yaml"
    spec.write_bytes(spec.read_bytes().replace(b"seed", b"sEed"))  # as long as before
    after = states(smoke_copy)
    assert set(after) == {short, changed, same}
    assert after[short][0] is after[changed][0] is State.DAMAGED
    assert after[same] == before[same]
    assert same not in reads


def test_where_nobody_can_write_it_works_without(smoke_copy, reads, monkeypatch):
    (smoke_copy / INDEX).unlink(missing_ok=True)

    def refuse(path, data):
        raise PermissionError(13, "no")

    monkeypatch.setattr("clntk.runs.index.write_atomic", refuse)
    assert len(states(smoke_copy)) == 4
    assert not (smoke_copy / INDEX).exists()


def test_runs_in_progress_are_in_it_too(write_protocol, tmp_path, monkeypatch):
    from clntk.protocol import expand, load
    from clntk.runs import index

    specs = expand(load(write_protocol(tmp_path), ["seeds=3"]))
    store = RunStore(tmp_path / "runs")
    store.enrol(specs)
    first = states(store.root)
    monkeypatch.setattr(index, "read_yaml", None)
    assert states(store.root) == first
    assert {state for state, _ in first.values()} == {State.PENDING}


def test_a_store_as_a_table(smoke_copy, smoke_runs):
    (smoke_copy / smoke_runs.runs[0].run_id / "facts.nc").unlink()
    table = clntk.open_runs(smoke_copy).table
    assert list(table.columns) == ["run", "protocol", "regime", "seed", "state"]
    assert sorted(table.state) == ["damaged", "done", "done", "done"]
    assert set(table.run) == {run.run_id for run in smoke_runs}
