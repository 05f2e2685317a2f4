"""What starters write runs as it is, and passes its own test."""

import subprocess
import sys

import pytest
from processes import PATIENCE

from clntk.errors import ClntkError, UnknownName
from clntk.starters.write import KINDS, start


def test_starters_pass_their_own_tests_and_are_in_style(begin, tmp_path):
    for kind in KINDS:
        start(kind, f"my_{kind}", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # none of our own settings
    done = begin("pytest", "-q", "-p", "no:cacheprovider", tmp_path)
    said, _ = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, said
    assert "6 passed" in said
    style = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select=E,F,I",
        "--line-length=120",
        str(tmp_path),
    ]
    assert subprocess.run(style, capture_output=True, text=True, check=False).returncode == 0


def test_nothing_is_overwritten(tmp_path):
    first, test = start("measure", "mine", tmp_path / "new")
    first.write_text("mine")
    test.unlink()
    with pytest.raises(ClntkError, match=r"mine.py is there already"):
        start("measure", "mine", tmp_path / "new")
    assert first.read_text() == "mine"
    assert not test.exists()


@pytest.mark.parametrize("name", ["My", "my measure", "1st", "../up", "class", ""])
def test_names_that_are_no_identifiers_are_refused(tmp_path, name):
    with pytest.raises(ClntkError, match="lower-case letters"):
        start("stream", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_that_are_taken_are_refused(tmp_path):
    with pytest.raises(ClntkError, match="a measure called 'forgetting' is there already"):
        start("measure", "forgetting", tmp_path)
    with pytest.raises(ClntkError, match="a protocol called 'smoke' is there already"):
        start("protocol", "smoke", tmp_path)


def test_an_unknown_kind(tmp_path):
    with pytest.raises(UnknownName, match=r"found 'measures'; did you mean 'measure'\?"):
        start("measures", "mine", tmp_path)
