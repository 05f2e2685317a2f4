"""Loading a protocol: where it is found, how it is overridden, and every error at once."""

import sys

import pytest
import yaml

from clntk import registry
from clntk.errors import ProtocolError, UnknownName
from clntk.protocol import Protocol, available, expand, find, load
from clntk.shipped import folder

BASE = {
    "stream": {"name": "permuted_digits", "n_tasks": 2},
    "model": "mlp",
    "strategy": {"name": "naive", "epochs": 1},
    "regimes": {"rich": "standard", "lazy": {"name": "output_scale", "alpha": 10}},
}


@pytest.fixture
def write(tmp_path):
    """Writes a protocol (keys over the base, or text) and returns its path."""

    def write(text=None, **keys):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**BASE, **keys}, sort_keys=False) if text is None else text)
        return path

    return write


@pytest.fixture
def problems(write):
    """The problems of a protocol as path → the rest of its line."""

    def problems(*overrides, text=None, **keys):
        with pytest.raises(ProtocolError) as caught:
            load(write(text, **keys), overrides)
        found = {
            problem.path: str(problem).removeprefix(f"{problem.path}: ") for problem in caught.value.problems
        }
        assert len(found) == len(caught.value.problems), "one line for each place"
        assert str(caught.value).count("\n") == len(found)
        return found

    return problems


# --- what is right ----------------------------------------------------------------------------------------


def test_bare_names_stand_for_default_options(write):
    protocol = load(write(measures=["forgetting"], probes=["kernels"]))
    assert (protocol.name, protocol.model.name, protocol.model.options) == ("mine", "mlp", {})
    assert (protocol.regimes["rich"].name, protocol.regimes["rich"].options) == ("standard", {})
    assert [m.name for m in protocol.measures] == ["forgetting"]
    assert [p.name for p in protocol.probes] == ["kernels"]
    assert list(protocol.regimes) == ["rich", "lazy"]


def test_a_mapping_is_a_protocol_written_out():
    protocol = load({"name": "mine", **BASE}, ["model.width=8"])
    assert (protocol.name, protocol.model.options) == ("mine", {"width": 8})
    assert "width" not in BASE  # what was given is left alone


def test_a_mapping_has_the_errors_of_a_file():
    with pytest.raises(ProtocolError) as caught:
        load({**BASE, "stream": print})
    assert "(protocol)" in str(caught.value)
    with pytest.raises(ProtocolError, match="name: expected"):
        load(BASE)


def test_files_that_a_mapping_uses_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "components.py").write_text("seen = True\n")
    monkeypatch.chdir(tmp_path)
    protocol = load({"name": "mine", **BASE, "use": ["components.py"]})
    assert protocol.use == [str(tmp_path / "components.py")]


def test_defaults_are_one_seed_and_automatic_probes(write):
    protocol = load(write())
    assert (protocol.seed_list, protocol.probes, protocol.sweep, protocol.device) == ([0], "auto", {}, "cpu")
    assert load(write(seeds=3)).seed_list == [0, 1, 2]
    assert load(write(seeds=[7, 3])).seed_list == [7, 3]


def test_overrides_are_dotted_keys_and_yaml_values(write):
    overrides = [
        "strategy.lr=1e-3", "strategy.optimizer=adam", "seeds=[4,5]", "model.width=8",
        "model.init_scale=[1,2,3]", "strategy.batch_size=null", "regimes.lazy.alpha=2.5",
        "measures=[forgetting]",
    ]  # fmt: skip
    protocol = load(write(), overrides)
    assert protocol.strategy.options == {"epochs": 1, "lr": 0.001, "optimizer": "adam", "batch_size": None}
    assert protocol.seed_list == [4, 5]
    assert (protocol.model.name, protocol.model.options) == ("mlp", {"width": 8, "init_scale": [1, 2, 3]})
    assert protocol.regimes["lazy"].options == {"alpha": 2.5}
    assert [m.name for m in protocol.measures] == ["forgetting"]


def test_an_override_reaches_into_a_bare_name(write):
    protocol = load(write(), ["regimes.rich.name=init_scale", "regimes.rich.scale=2"])
    assert (protocol.regimes["rich"].name, protocol.regimes["rich"].options) == ("init_scale", {"scale": 2})


def test_an_override_adds_a_regime(write):
    assert list(load(write(), ["regimes.third=standard"]).regimes) == ["rich", "lazy", "third"]


def test_a_nested_override_of_a_sweep_is_its_dotted_key(write):
    assert load(write(), ["sweep.model.width=[8,16]"]).sweep == {"model.width": [8, 16]}
    over = load(write(sweep={"model.width": [4], "strategy.lr": [0.1]}), ["sweep.model.width=[8,16]"])
    assert over.sweep == {"model.width": [8, 16], "strategy.lr": [0.1]}


def test_components_of_ones_own_are_loaded_beside_the_protocol(write, tmp_path):
    (tmp_path / "mine.py").write_text(
        'from clntk import register\n@register("regime")\n'
        'def mine(model, shape, *, a: int = 1):\n    """Mine."""\n'
    )
    protocol = load(write(use=["./mine.py"], regimes={"m": {"name": "mine", "a": 3}}))
    assert protocol.use == [str((tmp_path / "mine.py").resolve())]
    assert registry.get("regime", "mine").source == (tmp_path / "mine.py").resolve()


# --- where protocols are ----------------------------------------------------------------------------------


SHIPPED = sorted(path.stem for path in folder("protocols").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_protocol_is_valid_and_expands(name):
    protocol = load(name)
    specs = expand(protocol)
    assert protocol.name == name
    assert protocol.summary
    assert len({spec.run_id for spec in specs}) == len(specs) > 0


def test_a_name_or_a_path_is_found(write, tmp_path, monkeypatch):
    assert find("smoke") == find(str(folder("protocols") / "smoke.yaml"))
    assert "smoke" in SHIPPED
    assert find(write()) == tmp_path / "mine.yaml"
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "smoke.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert find("smoke") == tmp_path / "protocols" / "smoke.yaml"  # the nearer place hides the farther
    assert set(SHIPPED) <= set(available())


def test_installed_packages_offer_protocols(tmp_path, monkeypatch):
    from importlib.metadata import EntryPoint

    package = tmp_path / "clntk_test_offer"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "offered.yaml").write_text(yaml.safe_dump(BASE))
    monkeypatch.syspath_prepend(tmp_path)
    module = sys.modules["clntk.protocol.load"]  # the package hides it behind its function
    points = [EntryPoint("mine", "clntk_test_offer", module.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(module, "entry_points", lambda *, group: points)
    assert load("offered").name == "offered"


def test_a_missing_protocol_is_reported_with_the_nearest(tmp_path):
    with pytest.raises(
        UnknownName, match=r"no protocol is called 'smok'; did you mean 'smoke'\? known: .*smoke"
    ):
        load("smok")
    with pytest.raises(UnknownName, match=r"expected a protocol file, found nothing at .*absent.yaml"):
        load(tmp_path / "absent.yaml")


# --- what is wrong ----------------------------------------------------------------------------------------


def test_every_error_is_reported_at_once_with_its_place_and_the_nearest_name(problems):
    found = problems(
        stream={"name": "permuted_digit", "n_tasks": 2},
        model={"name": "mlp", "widht": 3, "depth": "2", "activation": "rely", "init_scale": "big"},
        strategy={"name": "naive", "lr": -1, "optimizer": "sgd", "momentum": True},
        regimes={"rich": "standart", "lazy": {"name": "output_scale", "alpa": 1}},
        measures=["forgeting", {"name": "kernel_distance", "reference": 3}],
        seeds="three",
        sed=3,
        sweep={"model.width": [8, "x"], "modle.depth": [1], "strategy.epochs": []},
    )
    expected = {
        "stream.name": "expected the name of a registered stream, found 'permuted_digit'; did you mean "
        "'permuted_digits'?",
        "model.widht": "expected a known key, found unknown key 'widht'; did you mean 'width'?",
        "model.depth": "expected a valid integer, found '2'",
        "model.activation": "expected 'relu', 'tanh' or 'identity', found 'rely'; did you mean 'relu'?",
        "model.init_scale": "expected a valid number or a valid array, found 'big'",
        "strategy.lr": "expected greater than 0, found -1",
        "strategy.momentum": "expected a valid number, found True",
        "regimes.rich.name": "expected the name of a registered regime, found 'standart'; did you mean "
        "'standard'?",
        "regimes.lazy.alpa": "expected a known key, found unknown key 'alpa'; did you mean 'alpha'?",
        "measures.0.name": "expected the name of a registered measure, found 'forgeting'; did you mean "
        "'forgetting'?",
        "seeds": "expected a valid integer or a valid list, found 'three'",
        "sed": "expected a known key, found unknown key 'sed'; did you mean 'seeds'?",
        "sweep.model.width: model.width": "expected a valid integer, found 'x'",
        "sweep.modle.depth: modle": "expected a known key, found unknown key 'modle'; did you mean 'model'?",
    }
    assert expected.items() <= found.items()
    assert set(found) - set(expected) == {"measures.1.reference", "sweep.strategy.epochs"}


def test_what_is_missing_is_named(problems):
    required = "expected a value, found nothing; this key is required"
    assert problems(text="seeds: 2\n") == dict.fromkeys(["stream", "model", "strategy", "regimes"], required)
    assert problems(model={"width": 3}) == {"model.name": required}
    assert problems(text="") == dict.fromkeys(["stream", "model", "strategy", "regimes"], required)


@pytest.mark.parametrize(
    ("keys", "path", "line"),
    [
        ({"seeds": 0}, "seeds", "greater than or equal to 1"),
        ({"seeds": [0, -1]}, "seeds.1", "greater than or equal to 0, found -1"),
        ({"seeds": [1, 2, 1]}, "seeds", "every value once (1 is repeated in seeds)"),
        ({"seeds": 2.5}, "seeds", "a valid integer"),
        ({"probes": "all"}, "probes", "'auto' or a valid list, found 'all'"),
        ({"probes": [3]}, "probes.0", "a name, or a mapping with one, found 3"),
        ({"probes": ["kernel"]}, "probes.0.name", "found 'kernel'; did you mean 'kernels'?"),
        ({"probes": [{"name": "kernels", "n": 1}]}, "probes.0.n", "unknown key 'n'"),
        ({"regimes": {}}, "regimes", "at least 1 item"),
        ({"regimes": {"a b": "standard"}}, "regimes.a b", "match pattern"),
        ({"stream": None}, "stream", "a name, or a mapping with one, found None"),
        ({"measures": "forgetting"}, "measures", "a valid list, found 'forgetting'"),
        ({"sweep": {"model.width": 8}}, "sweep.model.width", "a valid list, found 8"),
        ({"sweep": {"model.width": [8, 8]}}, "sweep", "every value once (8 is repeated in model.width)"),
        ({"strategy": {"name": "naive", "lr": float("inf")}}, "strategy.lr", "a finite number, found inf"),
        ({"use": "mine.py"}, "use", "a valid list, found 'mine.py'"),
        ({"name": "a/b"}, "name", "match pattern"),
    ],
)
def test_each_error_has_one_line_at_its_place(problems, keys, path, line):
    found = problems(**keys)
    assert list(found) == [path]
    assert line in found[path]


def test_swept_values_are_checked_in_their_place(problems):
    found = problems(sweep={"regimes.lazy.alpha": [1, 0], "strategy.name": ["naive", "repla"]})
    assert found == {
        "sweep.regimes.lazy.alpha: regimes.lazy.alpha": "expected greater than 0, found 0",
        "sweep.strategy.name: strategy.name": "expected the name of a registered strategy, found 'repla'; "
        "did you mean 'replay'?",
    }


def test_swept_values_that_are_wrong_only_together_are_found(problems):
    found = problems(
        strategy="replay", sweep={"strategy.name": ["replay", "naive"], "strategy.memory_size": [10]}
    )
    (path,) = found
    assert path == "sweep.strategy.name=naive,strategy.memory_size=10: strategy.memory_size"
    assert "unknown key 'memory_size'" in found[path]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stream: {name: [\n", "while parsing"),
        ("a: 1\na: 2\n", "found duplicate key a"),
        ("- a\n- b\n", "expected a mapping of keys"),
        ("42\n", "found Invalid loaded object type: int"),
        ("a: ${b}\n", "Interpolation key 'b' not found"),
        ("a: !!python/object/apply:os.system [echo]\n", "could not determine a constructor"),
    ],
)
def test_what_is_no_protocol_is_reported(problems, text, reason):
    (line,) = problems(text=text).values()
    assert reason in line


def test_a_file_that_is_no_text_is_reported(write):
    path = write()
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ProtocolError, match=r"\(file\): expected YAML"):
        load(path)


def test_overrides_that_are_none_are_reported(problems):
    assert problems("seeds") == {"seeds": "expected key=value, found 'seeds'; for example seeds=5"}
    (line,) = problems("seeds=[1").values()
    assert "expected YAML" in line
    assert problems("model.widht=3").keys() == {"model.widht"}


def test_a_file_of_components_that_fails_is_reported(problems, tmp_path):
    assert "found nothing at" in problems(use=["absent.py"])["use.0"]
    (tmp_path / "broken.py").write_text("def broken(:\n")
    assert "SyntaxError" in problems(use=["broken.py"])["use.0"]


def test_the_protocol_has_a_json_schema_for_editors():
    schema = Protocol.model_json_schema()
    assert set(schema["properties"]) == set(Protocol.model_fields)
    assert schema["additionalProperties"] is False


def test_two_used_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    for place in (tmp_path, tmp_path / "other"):
        (place / "mine.py").write_text("")
    text = (find("smoke")).read_text() + "use: [mine.py, other/mine.py]\n"
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ProtocolError, match=r"use\.1: .*a second file called mine\.py"):
        load(tmp_path / "p.yaml")


# --- published results ------------------------------------------------------------------------------------


def _published(**keys):
    claim = {"claim": "it is so", "published": 0.5, "finding": {"name": "level", "measure": "forgetting"}}
    return [{**claim, "within": [0.4, 0.6], **keys}]


def test_published_results_are_written_out_and_are_no_part_of_a_run_s_identity(write_protocol, tmp_path):
    plain = expand(load(write_protocol(tmp_path)))
    held = expand(load(write_protocol(tmp_path, published=_published())))
    assert [spec.run_id for spec in held] == [spec.run_id for spec in plain]
    assert held[0].published[0]["finding"] == {
        "name": "level",
        "measure": {"name": "forgetting"},
        "value": None,
        "where": None,
    }
    assert held[0].published[0]["seeds"] == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"within": [0.6, 0.4]}, "published.0.within: expected a lower and an upper bound"),
        ({"within": [None, None]}, "published.0.within: expected a lower and an upper bound"),
        ({"within": [0.4]}, "published.0.within"),
        ({"finding": "levl"}, "published.0.finding.name: .*'level'"),
        ({"finding": "level"}, "published.0.finding.measure: expected a value, found nothing"),
        ({"finding": {"name": "level", "measure": "x", "were": {}}}, "published.0.finding.were: .*'where'"),
        ({"clam": 1}, "published.0.clam: .*'claim'|published.0.clam"),
    ],
)
def test_what_is_wrong_with_a_published_result_is_said(write_protocol, tmp_path, wrong, said):
    with pytest.raises(ProtocolError, match=said):
        load(write_protocol(tmp_path, published=_published(**wrong)))


def test_a_finding_on_an_unknown_measure_is_found_before_anything_runs(write_protocol, tmp_path):
    finding = {"name": "level", "measure": "forgeting"}
    with pytest.raises(ProtocolError, match=r"published.0.finding.measure.name: .*'forgetting'"):
        load(write_protocol(tmp_path, published=_published(finding=finding)))


def test_what_a_finding_is_of_is_recorded(write_protocol, tmp_path):
    finding = {"name": "level", "measure": "unit_tuning"}
    path = write_protocol(tmp_path, measures=[], published=_published(finding=finding))
    assert "activations" in {probe["name"] for probe in expand(load(path))[0].probes}


def test_protocols_of_folders_inside_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "protocols" / "inner").mkdir(parents=True)
    (tmp_path / "protocols" / "inner" / "deep.yaml").write_text("summary: hello")
    monkeypatch.chdir(tmp_path)
    assert find("deep") == tmp_path / "protocols" / "inner" / "deep.yaml"


def test_the_quick_version_has_its_own_overrides_and_bounds(write_protocol, tmp_path):
    path = write_protocol(
        tmp_path,
        seeds=30,
        quick=["seeds=2", "model.width=3"],
        published=_published(seeds=30, quick=[0, None]),
    )
    assert len(load(path).seed_list) == 30
    quick = load(path, ["model.width=5"], quick=True)
    assert (len(quick.seed_list), quick.model.options["width"]) == (2, 5)
    (claim,) = quick.published
    assert (claim.within, claim.seeds) == ([0, None], 1)
    assert load(path).published[0].within == [0.4, 0.6]
