"""The layers hold: data flows one way, and heavy libraries load only where they are used."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clntk

ROOT = Path(clntk.__file__).parents[1]
HEAVY = ("torch", "avalanche", "pandas", "xarray", "matplotlib", "scipy", "sklearn", "pydantic", "rich")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="installed, not a checkout")


def tool(name):
    """A command of the environment that runs the tests."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


def loaded_after(code):
    """Names of the top-level modules that a fresh interpreter has loaded after some code."""
    script = (
        f"{code}\nimport sys, json\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_imports_keep_to_their_layers():
    done = subprocess.run([tool("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_the_code_is_in_style():
    done = subprocess.run([tool("ruff"), "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_git_ignores_no_source_file():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    folders = ["clntk", "protocols", "analyses", "tests"]
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard"]
    done = subprocess.run([*command, *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    ignored = [line for line in done.stdout.splitlines() if "__pycache__" not in line]
    assert ignored == []


def test_importing_clntk_is_cheap():
    assert not loaded_after("import clntk").intersection(HEAVY)


def test_every_public_name_is_there():
    for name in clntk.__all__:
        assert getattr(clntk, name) is not None
    assert set(clntk.__all__) == set(dir(clntk))
    with pytest.raises(
        AttributeError, match="has no attribute 'no_such_name'; it offers __version__, Capture"
    ):
        getattr(clntk, "no_such_" + "name")


def test_what_starts_from_saved_runs_needs_no_training_code(smoke_runs, tmp_path):
    code = f"""
import clntk
from clntk.analyze import analyze
runs = clntk.open_runs({str(smoke_runs.root)!r})
assert len(clntk.compare_regimes(runs))
for name in ("forgetting", "task_tuning"):
    analyze(name, runs)
from clntk.report import page
page.analyses = lambda **_: ["kernel_drift"]
clntk.write_report(runs, {str(tmp_path / "report.html")!r})
"""
    loaded = loaded_after(code)
    assert {"pandas", "xarray", "matplotlib"} <= loaded  # it did its work
    assert not loaded.intersection({"torch", "avalanche"})


def test_status_needs_no_training_code(smoke_runs):
    code = f"""
import sys
sys.argv = ["clntk", "status", {str(smoke_runs.root)!r}]
from clntk.cli import app
app(standalone_mode=False)
"""
    assert not loaded_after(code).intersection({"torch", "avalanche", "matplotlib"})


def test_help_comes_at_once():
    """Under half a second; the best of three, so that a busy machine does not decide."""
    times = []
    for _ in range(3):
        since = time.perf_counter()
        subprocess.run([sys.executable, "-m", "clntk.cli", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - since)
    assert min(times) < 0.5
