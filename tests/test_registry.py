"""The registry: names are unique, errors say what to do, and plug-ins are found."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import clntk
from clntk import registry
from clntk.errors import ClntkError, UnknownName
from clntk.registry import register


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


def test_a_name_may_be_registered_again_by_its_own_file_only():
    @register("model", "echo")
    def echo(shape):
        """An echo."""

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


def test_a_file_cannot_take_a_built_in_name_even_before_that_is_loaded(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        'from clntk import register\n\n@register("regime")\ndef standard(model, shape):\n    """Mine."""\n'
    )
    script = f"""
import clntk
from clntk import registry
try:
    clntk.use({str(path)!r})
except clntk.errors.ClntkError as error:
    print(error)
print(registry.names("regime"), registry.get("regime", "standard").source.parent.name)
"""
    said = _in_a_new_process(script)
    assert f"regime 'standard' in {path}: the name is taken by" in said
    assert f"{registry.names('regime')} regimes" in said


def _in_a_new_process(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_an_installed_plug_in_is_found(installed, tmp_path):
    (tmp_path / "clntk_test_plugin.py").write_text(
        'from clntk import register\n\n@register("model")\ndef plugged(shape):\n    """Mine."""\n'
    )
    installed(("mine", "clntk_test_plugin"))
    assert "plugged" in registry.names("model")


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
from clntk.component import KINDS
for kind in KINDS:
    registry.names(kind)
print([m for m in sys.modules if m.partition(".")[0] == "avalanche"])
"""
    assert _in_a_new_process(script).strip() == "[]"


def test_the_package_names_what_it_offers():
    with pytest.raises(AttributeError, match=r"module 'clntk' has no attribute 'runn'; it offers .*run"):
        clntk.runn  # noqa: B018
    assert clntk.register is registry.register
    assert set(clntk.__all__) == set(dir(clntk))
