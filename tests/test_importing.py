"""What is imported with training, and what is put off until somebody asks for it."""

import json
import subprocess
import sys

import pytest

from clntk.importing import Later, _put_off

# in a process of its own, as everything is there already in this one
SCRIPT = """
import json, sys
from clntk.importing import UNUSED, import_training

import_training()
there = sorted(set(UNUSED) & set(sys.modules))
from avalanche.evaluation.metrics import confusion_matrix
import scipy.signal

said = [
    there,
    "wandb" in sys.modules,
    confusion_matrix.wandb.Image.__module__.split(".")[0],
    "wandb" in sys.modules,
    scipy.signal.get_window("boxcar", 2).tolist(),
    hasattr(scipy.signal, "hamming"),
]
print(json.dumps(said))
"""


def test_what_avalanche_does_not_need_comes_when_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], False, "wandb", True, [1.0, 1.0], False]


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "slow_to_load.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "slow_to_load"
    sys.modules.pop("slow_to_load", None)


def test_a_module_that_is_put_off_is_the_real_one_once_it_is_asked(own_module):
    with _put_off({own_module: {"KNOWN": 1}}):
        import slow_to_load as early

        assert isinstance(early, Later)
        assert not hasattr(early, "__file__")
        assert early.KNOWN == 1
        assert isinstance(sys.modules[own_module], Later)
        assert early.VALUE == 3
        assert sys.modules[own_module].VALUE == 3
    assert not isinstance(sys.modules[own_module], Later)
    with pytest.raises(AttributeError, match="NOTHING"):
        early.NOTHING  # noqa: B018


def test_what_nobody_asked_is_forgotten_and_what_is_there_stays(own_module):
    with _put_off({own_module: {}, "json": {}}):
        assert sys.modules["json"] is json
    assert own_module not in sys.modules
    import slow_to_load

    assert slow_to_load.VALUE == 3
