"""Files that a user names: loaded once for each content, and mended where they fail."""

import sys

import pytest

from clntk import python_files, registry
from clntk.errors import ClntkError


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
    assert python_files.use(path) == path.resolve()
    assert registry.get("model", "my_model")(None) == 3
    assert registry.get("model", "my_model").source == path.resolve()


def test_a_file_is_loaded_once_for_each_content(write):
    path = write("import sys\nsys.clntk_loads = getattr(sys, 'clntk_loads', 0) + 1\n" + MINE)
    try:
        python_files.use(path)
        python_files.use(path)
        assert sys.clntk_loads == 1
        path.write_text(path.read_text().replace("= 3", "= 4"))
        python_files.use(path)
        assert sys.clntk_loads == 2
    finally:
        del sys.clntk_loads
    assert registry.get("model", "my_model")(None) == 4


def test_two_files_may_share_a_file_name(write, tmp_path):
    (tmp_path / "other").mkdir()
    python_files.use(write(MINE))
    python_files.use(write(MINE.replace("my_model", "her_model"), "other/mine.py"))
    assert {"my_model", "her_model"} <= set(registry.names("model"))


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(
        ClntkError, match=r"use: expected a Python file of components, found nothing at .*absent.py"
    ):
        python_files.use(tmp_path / "absent.py")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("def broken(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError: division by zero")],
)
def test_a_file_that_fails_is_reported_and_may_be_mended(write, text, reason):
    path = write(text)
    for _ in range(2):
        with pytest.raises(ClntkError, match=rf"mine.py: failed while it was loaded: {reason}"):
            python_files.use(path)
    path.write_text(MINE)
    python_files.use(path)
    assert "my_model" in registry.names("model")


def test_a_file_that_is_no_python_file_is_refused(tmp_path):
    (tmp_path / "components.txt").write_text("")
    with pytest.raises(
        ClntkError, match=r"components\.txt: expected a Python file, with a name that ends in \.py"
    ):
        python_files.use(tmp_path / "components.txt")
