"""The tutorials run as they are, and what they print is so."""

import re
from pathlib import Path

import pytest
from processes import said_by

TUTORIALS = Path(__file__).parents[1] / "analyses" / "tutorials"


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_there_is_a_test_for_every_tutorial():
    assert {path.name for path in TUTORIALS.glob("*.py")} == {"founding_notes.py", "own_model.py"}


def test_ones_own_network_and_data_end_with_a_report(begin, tmp_path):
    out = said_by(begin(TUTORIALS / "own_model.py", tmp_path))
    rich, lazy = (number(rf"final_train_loss +{regime} +3 +(\S+)", out) for regime in ("rich", "lazy"))
    assert lazy == pytest.approx(rich, rel=0.15)  # both stopped near .1
    moved = [number(rf"kernel_distance +{regime} +3 +(\S+)", out) for regime in ("rich", "lazy")]
    assert moved[0] > 10 * moved[1]
    page = Path(out.splitlines()[-1])
    assert page == tmp_path / "runs" / "results" / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "my_network: width = 64" in html
    assert "How much was forgotten?" in html


@pytest.mark.slow
def test_the_founding_notes_hold(begin, tmp_path):
    out = said_by(begin(TUTORIALS / "founding_notes.py", tmp_path))
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
