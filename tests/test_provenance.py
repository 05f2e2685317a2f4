"""Where numbers come from."""

import importlib.metadata
import platform
import subprocess

import pytest

from clntk import provenance
from clntk.provenance import environment, git_state


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout):
    assert git_state(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_changed_code_makes_it_dirty_and_new_files_do_not(checkout):
    (checkout / "notes.txt").write_text("mine\n")
    assert git_state(checkout)["dirty"] is False
    (checkout / "code.py").write_text("x = 2\n")
    assert git_state(checkout)["dirty"] is True


def test_outside_a_checkout_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None


def test_without_git_there_is_none(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


def test_the_environment_names_versions_and_machine():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["packages"]["xarray"] == importlib.metadata.version("xarray")
    assert found["packages"]["avalanche-lib"] == "0.6.0"
    assert found["cores"] >= 1
    assert found["machine"] == platform.machine()


def test_a_package_that_is_missing_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGES", ("no-such-package",))
    assert environment.__wrapped__()["packages"] == {"no-such-package": None}
