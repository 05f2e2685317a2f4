"""The package as it would be published."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist, by the build tools of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_both_pass_the_index_checks(built):
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *built],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_holds_all_that_the_package_reads(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    for path in (ROOT / "clntk").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    for folder in ("protocols", "analyses"):
        for path in (ROOT / folder).rglob("*.yaml" if folder == "protocols" else "*.py"):
            assert f"clntk/_shipped/{path.relative_to(ROOT)}" in names
    assert not any("__pycache__" in name or name.startswith("tests") for name in names)


def test_the_sdist_holds_what_its_tests_and_its_documentation_need(built):
    with tarfile.open(built[1]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for name in (
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
    ):
        assert name in names
    for folder in ("tests", "docs", "analyses", "protocols", "benchmarks"):
        assert any(name.startswith(f"{folder}/") for name in names)
