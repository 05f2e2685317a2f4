"""Anything at all in a protocol or a run's files: an error in words, or what it says; never a crash."""

import hashlib
import json
import math
import shutil
from contextlib import suppress
from copy import deepcopy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clntk
from clntk.errors import ClntkError, DamagedRun, NewerFormat, ProtocolError
from clntk.protocol import Protocol, expand, load
from clntk.runs.opened import Run
from clntk.runs.published import read_published

FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,  # native code reads some of this: a crash would end all tests, so it is looked for by hand
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
BASE = {
    "summary": "x",
    "stream": {"name": "permuted_digits", "n_tasks": 2, "n_probe": 4},
    "model": {"name": "mlp", "width": 4, "depth": 1},
    "strategy": {"name": "naive", "epochs": 2, "batch_size": 10, "lr": 0.05},
    "regimes": {"plain": "standard", "other": {"name": "init_scale", "scale": 0.5}},
    "measures": ["kernel_distance", {"name": "forgetting", "of": "loss"}],
    "probes": "auto",
    "seeds": [0, 1],
    "sweep": {"model.width": [4, 8], "strategy.lr, strategy.epochs": [[0.1, 1], [0.2, 2]]},
    "device": "cpu",
    "published": [
        {
            "claim": "c",
            "published": 1,
            "finding": {"name": "level", "measure": "forgetting"},
            "within": [0, None],
        }
    ],
    "quick": ["seeds=1"],
}
WORDS = [
    "name",
    "mlp",
    "standard",
    "naive",
    "0",
    "-1",
    "model.width",
    "${seeds}",
    "${",
    "a: [",
    "\x00",
    "é",
    "1e400",
    ".",
]
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=12)
)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def mutated(draw, base):
    """Something with some of its parts replaced, removed or joined by anything."""
    out = deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        node = out
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys))
            if not isinstance(node[key], dict | list) or draw(st.booleans()):
                if draw(st.integers(0, 5)):
                    node[key] = draw(ANYTHING)
                else:
                    del node[key]
                break
            node = node[key]
    return out


def loaded(path, overrides=()):
    """What loading gives, or None for an error in words; and its runs, if they are not too many to write out."""
    try:
        protocol = load(path, overrides)
    except ProtocolError:
        return None
    assert isinstance(protocol, Protocol)
    sizes = [len(protocol.seed_list), len(protocol.regimes), *map(len, protocol.sweep.values())]
    if math.prod(sizes) < 100:
        assert len(expand(protocol)) == math.prod(sizes)
    return protocol


@FEW
@given(raw=mutated(BASE))
def test_a_protocol_with_parts_of_anything(tmp_path, raw):
    path = tmp_path / "fuzzed.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
    loaded(path)


@FEW
@given(data=st.data())
def test_a_protocol_with_bytes_of_anything(tmp_path, data):
    text = bytearray(yaml.safe_dump(BASE).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.yaml"
    path.write_bytes(text[: data.draw(st.sampled_from([len(text), len(text) // 2]))])
    loaded(path)


@FEW
@given(
    key=st.sampled_from([*BASE, "model.width", "sweep.model.depth", "seeds.0.x", ""]),
    value=ANYTHING | st.text(),
)
def test_overrides_of_anything(tmp_path, key, value):
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(BASE))
    loaded(path, [f"{key}={value}"])


def test_the_base_of_all_this_is_valid(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(BASE))
    assert loaded(path) is not None


@pytest.fixture(scope="module")
def published(write_protocol, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    return clntk.run(write_protocol(folder), store=folder / "runs").runs[0].path


@pytest.fixture
def copy(published, tmp_path):
    """Makes a copy of the run with one file changed, its checksum right again."""

    def make(name, content):
        folder = tmp_path / published.name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(published, folder)
        (folder / name).write_bytes(content)
        if name != "provenance.json":
            facts = json.loads((folder / "provenance.json").read_text())
            facts["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            (folder / "provenance.json").write_text(json.dumps(facts))
        return folder

    return make


@FEW
@given(data=st.data())
def test_a_spec_or_a_provenance_of_anything(published, copy, data):
    name = data.draw(st.sampled_from(["spec.yaml", "provenance.json"]))
    written, read = (yaml.safe_dump, yaml.safe_load) if name == "spec.yaml" else (json.dumps, json.loads)
    raw = data.draw(mutated(read((published / name).read_text())))
    try:
        content = written(raw).encode()
    except TypeError:  # keys that JSON cannot have
        return
    try:
        spec, provenance = read_published(copy(name, content))
    except (DamagedRun, NewerFormat):
        return
    assert spec.run_id
    assert provenance["files"]


FILES = ["facts.nc", "facts.nc", "facts.nc", "metrics.parquet", "weights/init.safetensors", "log.txt"]
FACTS = ["outputs", "kernels", "losses", "metrics", "weights", "probes"]


@FEW
@given(data=st.data())
def test_files_with_bytes_of_anything(published, copy, data):
    name = data.draw(st.sampled_from(FILES))
    content = bytearray((published / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    run = Run(copy(name, bytes(content[:cut])))
    for read in (*(lambda fact=fact: run.fact(fact) for fact in FACTS), lambda: run.network("init")):
        with suppress(ClntkError):
            assert read() is not None
