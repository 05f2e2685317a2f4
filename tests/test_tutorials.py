"""The tutorials run as they are, and what they print is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[1] / "analyses" / "tutorials"


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_there_is_a_test_for_every_tutorial():
    assert [path.name for path in TUTORIALS.glob("*.py")] == ["founding_notes.py"]


@pytest.mark.slow
def test_the_founding_notes_hold(tmp_path):
    done = subprocess.run(
        [sys.executable, TUTORIALS / "founding_notes.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert number(r"slope (-[\d.]+) \(theory -0.5\)", out) == pytest.approx(-0.5, abs=0.1)
    assert number(r"width 32: tangent kernel off by ([\d.]+)", out) > 2 * number(
        r"width 512: .*? by ([\d.]+)", out
    )
    assert number(r"closed form off by ([\d.]+) for the network", out) < 0.02
    assert number(r"([\d.e-]+) for its linearisation", out) < 1e-10
    assert number(r"highest at (\d+) features", out) == 300
    predicted = number(r"forgetting, predicted: ([\d.]+)", out)
    assert number(r"forgetting, linearised: ([\d.]+)", out) == pytest.approx(predicted, rel=1e-4)
    assert abs(number(r"forgetting, predicted, OGD: (-?[\d.]+)", out)) < 1e-3
    assert number(r"localist code: ([\d.]+)", out) == 1.0
    assert number(r"distributed code: ([\d.]+)", out) < 0.2
    for name in ("1_processes_and_kernels", "2_tasks_in_sequence"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
