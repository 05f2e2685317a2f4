"""The documentation builds without a warning; its examples are executed by `make docs`, and by tests of their own."""

import re
from pathlib import Path

import pytest
from processes import Forked, said_by

import clntk
from clntk import registry
from clntk.component import KINDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, its examples not executed."""
    folder = tmp_path_factory.mktemp("site")
    how = ["-W", "--keep-going", "-q", "-D", "plot_gallery=0", "-d", folder / "doctrees", "-b", "html"]
    said_by(Forked(folder, "sphinx", *how, ROOT / "docs", folder / "html"))
    return folder / "html"


def test_every_component_and_public_function_is_described(site):
    components = (site / "generated" / "components.html").read_text(encoding="utf-8")
    for kind in KINDS:
        for name in registry.names(kind):
            assert f">{name}<" in components
    functions = (site / "generated" / "functions.html").read_text(encoding="utf-8")
    for name in set(clntk.__all__) - {"__version__"}:
        assert re.search(rf'id="clntk\.[\w.]+\.{name}"', functions), name


def test_every_analysis_has_an_example(site):
    shown = {
        path.stem.split("_", 2)[2]
        for path in (site / "generated" / "examples" / "analyses").glob("*_??_*.html")
    }
    assert shown == set(registry.names("analysis"))
