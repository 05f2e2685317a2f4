"""Protocols and runs that a stranger wrote: refused by name, or inert; no code runs, nothing outside is touched."""

import hashlib
import json
import os
import resource

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from pyarrow import parquet

import clntk
from clntk.errors import ClntkError, DamagedRun, DataError, ProtocolError, StoreError
from clntk.protocol import load
from clntk.runs import opened
from clntk.runs.doctor import examine, repair
from clntk.runs.opened import Run
from clntk.runs.store import RunStore, State

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
PROTOCOLS = {
    "objects": ("x: !!python/object/apply:os.system [touch hacked]\n", "could not determine a constructor"),
    "a bomb": (BOMB, "aliases written out"),
    "an alias of itself": ("a: &a [*a]\n", r"inside of what it names"),
    "a tower": ("a: " + "[" * 500 + "]" * 500, "at most 60 levels"),
    "the environment": ("summary: ${oc.env:HOME}\n", r"expected at most a reference to another key"),
    "the environment, decoded": ("summary: ${oc.decode:${oc.env:HOME}}\n", "expected at most a reference"),
    "the environment, in a key of its own": (
        "x: oc.env\nsummary: '${${x}:HOME}'\n",
        "expected at most a ref",
    ),
    "texts that double": ("a: xx\nb: ${a}${a}\nc: ${b}${b}\n", r"\$\{b\} to name a plain value"),
    "a number beyond numbers": ("seeds: " + "9" * 5000, "(file)"),
    "seeds without end": ("seeds: 1000000000\n", r"seeds: expected less than or equal to 1000000"),
    "a sweep without end": (
        f"seeds: 1000\nsweep: {{model.width: {list(range(1, 101))}, stream.n_probe: {list(range(1, 101))}}}\n",
        r"at most 1000000 runs \(1000 × 1 × 100 × 100 are more\)",
    ),
    "a measure without a name": (
        "published: [{claim: c, published: 1, finding: {name: level, measure: {of: loss}}, within: [0, 1]}]\n",
        r"published.0.finding.measure: expected a name, or a mapping with one, found {'of': 'loss'}",
    ),
    "a name that leads out": ("name: ../../out\n", r"name: .*"),
}


@pytest.mark.parametrize("case", PROTOCOLS)
def test_a_hostile_protocol_is_refused_in_words(case, write_protocol, tmp_path, monkeypatch):
    text, message = PROTOCOLS[case]
    monkeypatch.chdir(tmp_path)
    path = write_protocol(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(":")[0] not in ("name", "summary", "seeds")]
    path.write_text("".join(kept) + text)
    with pytest.raises(ProtocolError, match=message):
        load(path)
    assert not (tmp_path / "hacked").exists()


def test_a_reference_to_a_plain_value_is_none_of_that(write_protocol, tmp_path):
    path = write_protocol(tmp_path)
    path.write_text(path.read_text() + "reference: as in ${model.name}\n")
    assert load(path).reference == f"as in {load(path).model.name}"


def test_a_bomb_among_protocols_is_not_written_out(tmp_path, monkeypatch, cli):
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "theirs.yaml").write_text(BOMB + "summary: *a39\n")
    monkeypatch.chdir(tmp_path)
    assert "cannot be read (clntk validate theirs says why)" in cli("list", "protocol").out


@pytest.fixture
def run(write_protocol, tmp_path):
    (made,) = clntk.run(write_protocol(tmp_path, seeds=1), store=tmp_path / "runs")
    return made


def published_again(run, name, **provenance):
    """The checksums of a stranger who changed a file are right."""
    path = run.path / "provenance.json"
    facts = json.loads(path.read_text()) | provenance
    if name:
        data = (run.path / name).read_bytes()
        facts["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(facts))


NAMES = ["../out.txt", "/etc/passwd", "weights/../../out.txt", "weights//init", "a\x1b[2Jb"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_of_the_folder(run, name, tmp_path):
    (tmp_path / "runs" / "out.txt").write_text("")
    facts = json.loads((run.path / "provenance.json").read_text())
    facts["files"][name] = {"bytes": 0, "sha256": "0" * 64}
    published_again(run, None, files=facts["files"])
    with pytest.raises(DamagedRun, match=r"provenance.json cannot be read"):
        Run(run.path)


def test_links_and_pipes_are_no_files(run, tmp_path):
    outside = tmp_path / "secret"
    file = run.path / "log.txt"
    outside.write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(outside)
    with pytest.raises(DamagedRun, match=r"log.txt is missing"):
        Run(run.path)
    assert any("log.txt" in finding.what for finding in examine(run.path.parent))
    (run.path / "provenance.json").unlink()
    os.mkfifo(run.path / "provenance.json")
    with pytest.raises(DamagedRun, match=r"provenance.json cannot be read"):
        Run(run.path)


def test_leftovers_that_are_links_are_removed_and_not_followed(run, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (run.path.parent / ".work").mkdir(exist_ok=True)
    (run.path.parent / ".work" / "link").symlink_to(tmp_path / "outside")
    repair(run.path.parent)
    assert (tmp_path / "outside" / "kept").exists()


def test_a_spec_in_progress_does_not_choose_its_folder(run):
    store = RunStore(run.path.parent)
    folder = store.work("harmless")
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_bytes((run.path / "spec.yaml").read_bytes())
    states = {s.run_id: s.state for s in store.standings()}
    assert states["harmless"] is State.DAMAGED


def empty(file):
    file.create_dataset("huge", shape=(10**7, 10**7), chunks=(1000, 1000), dtype="f8")


def elsewhere(file):
    file.create_dataset("external", shape=(8,), dtype="u1", external=[("/etc/passwd", 0, 8)])


def linked(file):
    file["external"] = h5py.ExternalLink("/etc/passwd", "/")


def virtual(file):
    layout = h5py.VirtualLayout(shape=(8,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(8,))
    file.create_virtual_dataset("virtual", layout)


def cyclic(file):
    file["schedule/again"] = file["schedule"]


def one_text_many_times(file):
    texts = file.create_dataset("texts", shape=(200_000,), dtype=h5py.string_dtype())
    texts[0] = "x"


def with_another_filter(file):
    file.create_dataset("filtered", data=np.zeros(100), compression="lzf")


FACTS = [empty, elsewhere, linked, virtual, cyclic, one_text_many_times, with_another_filter]


@pytest.mark.parametrize("attack", FACTS, ids=lambda attack: attack.__name__)
def test_facts_that_claim_what_is_not_there(run, attack):
    with h5py.File(run.path / "facts.nc", "r+") as file:
        attack(file)
    published_again(run, "facts.nc")
    with pytest.raises(DamagedRun, match=r"facts.nc cannot be read \(ValueError: "):
        _ = Run(run.path).tree


@pytest.mark.parametrize(
    ("name", "fact"),
    [("facts.nc", "outputs"), ("metrics.parquet", "metrics"), ("weights/init.safetensors", "weights")],
)
def test_files_of_anything_are_damaged_and_named(run, name, fact):
    (run.path / name).write_bytes(b"\x00anything" * 100)
    published_again(run, name)
    with pytest.raises(DamagedRun, match="cannot be read"):
        Run(run.path).fact(fact)


def test_facts_that_change_between_the_look_and_the_reading(run, monkeypatch):
    file = run.path / "facts.nc"
    monkeypatch.setattr(opened, "refuse_hostile", lambda content: file.write_bytes(b"something else"))
    assert "schedule" in Run(run.path).tree.children
    with pytest.raises(DamagedRun, match=r"facts\.nc has 14 bytes"):
        _ = Run(run.path).tree


def metrics_of(run, change):
    """The table of metrics, changed and published again."""
    path = run.path / "metrics.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    published_again(run, "metrics.parquet")


def test_one_long_label_of_many_rows_is_read_once(run):
    rows = 20_000
    columns = {
        name: pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [label])
        for name, label in (("checkpoint", "init"), ("eval_task", "A"), ("metric", "x" * 100_000))
    }
    table = pa.table(columns | {"value": np.zeros(rows), "step": np.zeros(rows, np.int64)})
    parquet.write_table(table, run.path / "metrics.parquet")
    published_again(run, "metrics.parquet")
    before = peak_memory()
    with pytest.raises(DamagedRun):  # the same metric of the same task again and again
        Run(run.path).fact("metrics")
    assert peak_memory() - before < 500 * 2**20  # written out they are 2 GB


def peak_memory():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="step"), "expected step to be int64, found None"),
        (lambda table: table.astype({"value": str}), "expected value to be double, found"),
    ],
)
def test_metrics_that_are_other_than_clntk_writes_them(run, change, message):
    metrics_of(run, change)
    with pytest.raises(DamagedRun, match=message):
        Run(run.path).fact("metrics")


def test_metrics_of_more_checkpoints_and_tasks_than_rows(run):
    def diagonal(table):
        labels = [str(i) for i in range(4000)]
        return table.loc[[0] * 4000].assign(checkpoint=labels, eval_task=labels)

    metrics_of(run, diagonal)
    with pytest.raises(DamagedRun, match="found more labels"):
        Run(run.path).fact("metrics")


def test_a_spec_with_keys_of_several_kinds(run):
    path = run.path / "spec.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["model"]["kwargs"] = {1: "a", "b": None}
    path.write_text(yaml.safe_dump(spec))
    published_again(run, "spec.yaml")
    with pytest.raises(DamagedRun, match=r"spec.yaml cannot be read"):
        Run(run.path)


@pytest.mark.parametrize("options", [{"width": 10**12}, {"width": 40_000, "depth": 3}, {"depth": 10**9}])
def test_a_network_larger_than_its_weights_is_not_built(run, options):
    path = run.path / "spec.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["model"] |= options
    path.write_text(yaml.safe_dump(spec))
    published_again(run, "spec.yaml")
    with pytest.raises(
        StoreError, match="found its options to ask for more; this run was not written by clntk"
    ):
        Run(run.path).network("init")


EVIL = '''
from pathlib import Path
from clntk import register, registry
Path(r"{}").touch()


@register("regime")
def theirs(model, shape):
    """Anything."""
    return registry.get("regime", "standard")(model, shape)
'''


def test_no_run_loads_code(write_protocol, tmp_path, cli, forget):
    mark, file = tmp_path / "hacked", tmp_path / "theirs.py"
    file.write_text(EVIL.format(mark))
    path = write_protocol(tmp_path, seeds=1, use=["theirs.py"], regimes={"a": {"name": "theirs"}})
    (run,) = clntk.run(path, store=tmp_path / "runs")
    forget()
    mark.unlink()
    for work in (lambda: Run(run.path).network("init"), lambda: clntk.reproduce(run.path)):
        with pytest.raises(StoreError, match=r"a run loads no code by itself"):
            work()
    store = RunStore(tmp_path / "begun")
    store.enrol([run.spec])
    resumed = cli("resume", store.root)
    assert resumed.code == 1
    assert "a run loads no code by itself" in resumed.err
    assert not mark.exists()
    assert cli("resume", store.root, "--use", file).code == 0


def test_a_protocol_calls_nothing_by_a_models_path(write_protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = {"name": "custom", "path": "os:system", "kwargs": {"command": "touch hacked"}}
    with pytest.raises(ClntkError, match="from an installed package"):
        clntk.run(write_protocol(tmp_path, seeds=1, model=model), store=tmp_path / "runs")
    assert not (tmp_path / "hacked").exists()


def rewritten(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def with_pickles(found):
    found["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]


def unpacking(found):
    found["codecs"].append({"name": "gzip", "configuration": {"level": 1}})


def of_objects(found):
    found["data_type"] = "string"


def beyond_what_is_there(found):
    found["attributes"] |= {"n": 10**9, "m": 10**9}


def in_another_place(found):
    found["chunk_key_encoding"]["configuration"]["separator"] = "../"


def transformed(found):
    found["storage_transformers"] = [{"name": "anything"}]


KERNELS = [with_pickles, unpacking, of_objects, beyond_what_is_there, in_another_place, transformed]


@pytest.fixture
def kernel(tmp_path):
    clntk.empirical_ntk(torch.nn.Linear(2, 2), torch.ones(3, 2), out=tmp_path / "kernel", block_bytes=1)
    return tmp_path / "kernel"


@pytest.mark.parametrize("attack", KERNELS, ids=lambda attack: attack.__name__)
def test_kernels_on_disk_that_are_other_than_clntk_writes_them(kernel, attack):
    rewritten(kernel / "zarr.json", attack)
    with pytest.raises(DataError, match="expected a kernel written by clntk"):
        clntk.open_ntk(kernel)


def test_a_kernel_of_more_tiles_than_there_could_be(kernel):
    def claim(found):
        found["attributes"] |= {"n": 10**9, "m": 10**9}
        found["shape"] = [10**9, 2, 10**9, 2]

    rewritten(kernel / "zarr.json", claim)
    with pytest.raises(DataError, match="expected at most 10000000 tiles"):
        clntk.open_ntk(kernel)


def test_a_tile_that_is_a_link_is_not_there(kernel, tmp_path):
    tile = next(path for path in (kernel / "c").rglob("*") if path.is_file())
    tile.rename(tmp_path / "secret")
    tile.symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="5 of 6 tiles are there"):
        clntk.open_ntk(kernel)
