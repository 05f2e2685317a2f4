"""The registry: a signature is a schema, names are unique, and errors say what to do."""

import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from clntk import registry
from clntk.errors import ClntkError, OptionError, UnknownName
from clntk.registry import register
from clntk.strategies.training import Training


@pytest.fixture
def component():
    """A model that hands back what it is called with."""

    @register("model", "echo", colour="blue")
    def echo(
        shape,
        *,
        size: Annotated[int, Field(ge=1)],
        rate: float = 0.5,
        kind: Literal["a", "b"] = "a",
        root: Path | None = None,
        layers: float | list[float] = 1.0,
        on: bool = False,
    ):
        """An echo.

        More about it.
        """
        return shape, {"size": size, "rate": rate, "kind": kind, "root": root, "layers": layers, "on": on}

    return registry.get("model", "echo")


def _wrong(component, **options):
    with pytest.raises(ValidationError) as caught:
        component.check({"size": 1, **options})
    return {error["loc"][0]: error["type"] for error in caught.value.errors()}


# --- a signature is a schema ------------------------------------------------------------------------------


def test_the_signature_is_the_schema(component):
    assert component.needs == ("shape",)
    assert component.summary == "An echo."
    assert component.traits == {"colour": "blue"}
    assert component.source == Path(__file__).resolve()
    assert {name: f.is_required() for name, f in component.schema.model_fields.items()} == {
        "size": True, "rate": False, "kind": False, "root": False, "layers": False, "on": False
    }  # fmt: skip


def test_a_call_hands_over_what_is_injected_and_fills_in_defaults(component):
    shape, options = component("the shape", size=3, root="some/where")
    assert shape == "the shape"
    assert options == {
        "size": 3, "rate": 0.5, "kind": "a", "root": Path("some/where"), "layers": 1.0, "on": False
    }  # fmt: skip


def test_resolved_options_are_plain_values_and_a_fixed_point(component):
    resolved = component.resolve({"size": 3, "rate": 1, "root": "x"})
    assert resolved == {"size": 3, "rate": 1.0, "kind": "a", "root": "x", "layers": 1.0, "on": False}
    assert type(resolved["rate"]) is float  # 1 and 1.0 are the same run
    assert component.resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"size": "3"}, "size"),
        ({"size": True}, "size"),
        ({"size": 2.5}, "size"),
        ({"size": 0}, "size"),
        ({"rate": "0.5"}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"kind": "c"}, "kind"),
        ({"on": 1}, "on"),
        ({"on": "true"}, "on"),
        ({"layers": ["1"]}, "layers"),
        ({"sise": 3}, "sise"),
    ],
)
def test_nothing_is_coerced_and_nothing_ignored(component, options, where):
    assert set(_wrong(component, **options)) == {where}


def test_all_problems_are_found_at_once(component):
    assert _wrong(component, size=0, rate="x", other=1) == {
        "size": "greater_than_equal", "rate": "float_type", "other": "extra_forbidden"
    }  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        component.check({})
    assert [(e["loc"], e["type"]) for e in caught.value.errors()] == [(("size",), "missing")]


def test_a_call_checks_its_options(component):
    with pytest.raises(OptionError, match=r"size: expected a valid integer, found .3."):
        component("the shape", size="3")


def test_a_kinds_shared_options_belong_to_every_member():
    @register("strategy")
    def patient(setup, training, *, patience: int = 3):
        """Patient training."""
        return setup, training, patience

    entry = registry.get("strategy", "patient")
    assert entry.needs == ("setup", "training")
    assert entry("the setup", lr=0.25, patience=4) == ("the setup", replace(Training(), lr=0.25), 4)
    assert entry.resolve({})["epochs"] == Training().epochs
    with pytest.raises(ValidationError, match="patience"):
        registry.get("strategy", "naive").check({"patience": 3})


@dataclass(frozen=True)
class Doubled:
    """Options that are applied to whatever a member of the made-up kind returns."""

    times: Annotated[int, Field(ge=1)] = 1

    def __call__(self, result, *injected):
        return [result] * self.times, injected


def test_a_kinds_applied_options_belong_to_every_member_and_act_on_its_result(monkeypatch):
    kind = replace(registry.KINDS["strategy"], applied=f"{__name__}:Doubled")
    monkeypatch.setitem(registry.KINDS, "strategy", kind)

    @register("strategy")
    def patient(setup, training, *, patience: int = 3):
        """Patient training."""
        return setup, training.lr, patience

    entry = registry.get("strategy", "patient")
    # what is applied is handed what the toolkit injected, without the shared options
    assert entry("the setup", lr=0.5, times=2) == ([("the setup", 0.5, 3)] * 2, ("the setup",))
    assert entry.resolve({})["times"] == 1
    assert list(entry.schema.model_fields)[-2:] == ["patience", "times"]
    with pytest.raises(ValidationError, match="times"):
        entry.check({"times": 0})
    with pytest.raises(ValidationError, match="times"):
        registry.get("model", "mlp").check({"times": 2})


def test_an_option_that_its_kind_has_already_is_refused():
    with pytest.raises(
        ClntkError, match=r"strategy 'greedy' in .*: every strategy has an option 'momentum' already"
    ):

        @register("strategy", "greedy")
        def with_momentum(setup, training, *, momentum: float = 0.0):
            """Greedy."""

    with pytest.raises(
        ClntkError, match=r"stream 'greedy' in .*: every stream has an option 'schedule'.*rename it"
    ):

        @register("stream", "greedy")
        def with_schedule(seeds, *, schedule: str = "mine"):
            """Greedy."""

    assert "greedy" not in registry.names("strategy") + registry.names("stream")


def test_annotations_of_what_is_injected_may_be_for_type_checkers_only():
    @register("probe")
    def gradients(look: "NameThatIsNotImported", *, scale: "float" = 2.0):  # noqa: F821
        """Gradients."""
        return scale

    assert registry.get("probe", "gradients")(None, scale=3) == 3.0


def test_a_decorated_function_keeps_its_file_and_signature():
    entry = registry.get("regime", "init_scale")  # under torch.no_grad, whose file is torch's
    assert entry.source.name == "init_scale.py"
    assert set(entry.schema.model_fields) == {"scale", "sd", "input_sd"}


# --- names ------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(
        UnknownName, match=r"no regime is called 'output_scal'; did you mean 'output_scale'\? known: "
    ):
        registry.get("regime", "output_scal")
    known = ", ".join(registry.names("regime"))
    with pytest.raises(UnknownName, match=rf"^no regime is called 'zzz'; known: {known}$"):
        registry.get("regime", "zzz")


@pytest.mark.parametrize("ask", [registry.names, lambda kind: registry.get(kind, "x"), registry.register])
def test_an_unknown_kind_is_answered_with_the_nearest_and_all(ask):
    with pytest.raises(
        UnknownName, match=r"no kind is called 'modle'; did you mean 'model'\? known: stream, model"
    ):
        ask("modle")


def test_a_docstring_is_asked_for():
    with pytest.raises(ClntkError, match=r"model 'silent' in .*test_registry.py: needs a docstring"):

        @register("model")
        def silent(shape):
            pass

    assert "silent" not in registry.names("model")


def test_an_options_annotation_is_asked_for():
    with pytest.raises(ClntkError, match=r"model 'vague' in .*: option 'size' needs an annotation"):

        @register("model")
        def vague(shape, *, size=3):
            """Vague."""


def test_a_name_may_be_registered_again_by_its_own_file_only(component):
    @register("model", "echo")
    def again(shape):
        """Another echo."""

    assert registry.get("model", "echo").summary == "Another echo."
    with pytest.raises(
        ClntkError, match=r"model 'mlp' in .*test_registry.py: the name is taken by .*mlp.py; choose"
    ):
        register("model", "mlp")(again)
    assert registry.get("model", "mlp").source.name == "mlp.py"


def test_the_same_name_is_free_in_another_kind():
    @register("regime", "mlp")
    def other(model, shape):
        """No model."""

    assert registry.get("regime", "mlp").kind == "regime"
    assert registry.get("model", "mlp").kind == "model"


# --- the user's own files ---------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


MINE = '''
from clntk import register

@register("model")
def my_model(shape, *, size: int = 3):
    """Mine."""
    return size
'''


def test_a_file_is_loaded_and_registers(write):
    path = write(MINE)
    assert registry.use(path) == path.resolve()
    assert registry.get("model", "my_model")(None) == 3
    assert registry.get("model", "my_model").source == path.resolve()


def test_a_file_is_loaded_once_for_each_content(write):
    path = write("import sys\nsys.clntk_loads = getattr(sys, 'clntk_loads', 0) + 1\n" + MINE)
    try:
        registry.use(path)
        registry.use(path)
        assert sys.clntk_loads == 1
        path.write_text(path.read_text().replace("= 3", "= 4"))
        registry.use(path)
        assert sys.clntk_loads == 2
    finally:
        del sys.clntk_loads
    assert registry.get("model", "my_model")(None) == 4


def test_two_files_may_share_a_file_name(write, tmp_path):
    (tmp_path / "other").mkdir()
    registry.use(write(MINE))
    registry.use(write(MINE.replace("my_model", "her_model"), "other/mine.py"))
    assert {"my_model", "her_model"} <= set(registry.names("model"))


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(
        ClntkError, match=r"use: expected a Python file of components, found nothing at .*absent.py"
    ):
        registry.use(tmp_path / "absent.py")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("def broken(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError: division by zero")],
)
def test_a_file_that_fails_is_reported_and_may_be_mended(write, text, reason):
    path = write(text)
    for _ in range(2):
        with pytest.raises(ClntkError, match=rf"mine.py: failed while it was loaded: {reason}"):
            registry.use(path)
    path.write_text(MINE)
    registry.use(path)
    assert "my_model" in registry.names("model")


def test_a_file_cannot_take_a_built_in_name_even_before_that_is_loaded(write, monkeypatch):
    path = write(MINE.replace('"model"', '"regime"').replace("my_model", "standard"))
    script = f"""
from clntk import registry
from clntk.errors import ClntkError
try:
    registry.use({str(path)!r})
except ClntkError as error:
    print(error)
print(registry.names("regime"), registry.get("regime", "standard").source.parent.name)
"""
    said = _in_a_new_process(script)
    assert f"regime 'standard' in {path}: the name is taken by" in said
    assert f"{registry.names('regime')} regimes" in said


def _in_a_new_process(script):
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- installed plug-ins -----------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretends that packages with these entry points are installed."""

    def install(*points):
        monkeypatch.setattr(
            registry.importlib.metadata,
            "entry_points",
            lambda *, group: [EntryPoint(name, value, group) for name, value in points],
        )
        monkeypatch.setattr(registry, "_discovered", set())

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    sys.modules.pop("clntk_test_plugin", None)


def test_an_installed_plug_in_is_found(installed, write):
    write(MINE, "clntk_test_plugin.py")
    installed(("mine", "clntk_test_plugin"))
    assert "my_model" in registry.names("model")


def test_a_broken_plug_in_is_named_each_time(installed):
    installed(("mine", "clntk_test_plugin_that_is_absent"))
    for _ in range(2):
        with pytest.raises(
            ClntkError, match=r"plug-in 'mine' \(clntk_test_plugin_that_is_absent\): failed while it"
        ):
            registry.names("model")


def test_importing_clntk_imports_nothing_heavy():
    heavy = ["torch", "avalanche", "xarray", "pandas", "pydantic", "matplotlib", "sklearn"]
    said = _in_a_new_process(f"import sys, clntk; print([m for m in {heavy!r} if m in sys.modules])")
    assert said.strip() == "[]"


def test_finding_all_components_imports_no_avalanche():
    """Listing and validating would take five seconds otherwise."""
    script = """
import sys
from clntk import registry
for kind in registry.KINDS:
    registry.names(kind)
print([m for m in sys.modules if m.partition(".")[0] == "avalanche"])
"""
    assert _in_a_new_process(script).strip() == "[]"


def test_the_package_names_what_it_offers():
    import clntk

    with pytest.raises(AttributeError, match=r"module 'clntk' has no attribute 'runn'; it offers .*run"):
        clntk.runn  # noqa: B018
    assert clntk.register is registry.register
    assert set(clntk.__all__) == set(dir(clntk))


def test_a_file_that_is_no_python_file_is_refused(tmp_path):
    (tmp_path / "components.txt").write_text("")
    with pytest.raises(
        ClntkError, match=r"components\.txt: expected a Python file, with a name that ends in \.py"
    ):
        registry.use(tmp_path / "components.txt")
