"""Lazy training and width as analyses of small sweeps, and the protocols that hold them against papers."""

import matplotlib.pyplot as plt
import pytest

from clntk.analyze import analyze
from clntk.errors import NotApplicable
from clntk.protocol import expand, load
from clntk.stats.phrases import interval, words
from clntk.stats.scaling import exponents

SEEN = ["weights", "outputs", "kernels"]
STREAM = {"name": "noise", "values": True, "n_tasks": 2}
WHOLE = {"name": "naive", "epochs": 8, "batch_size": None, "lr": 0.05, "loss": "squared_error"}
MODEL = {"name": "mlp", "width": 8, "activation": "tanh"}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def scaled(one_run):
    return one_run(
        WHOLE,
        stream=STREAM,
        model=MODEL,
        probes=SEEN,
        regimes={"it": {"name": "output_scale"}},
        sweep={"regimes.it.alpha": [1.0, 10.0, 100.0, 1000.0]},
        seeds=2,
    )


@pytest.fixture
def widths(one_run):
    return one_run(
        WHOLE,
        stream=STREAM,
        model=MODEL,
        probes=SEEN,
        regimes={"it": {"name": "ntk_parametrization"}},
        sweep={"model.width": [4, 8, 32], "strategy.epochs": [1, 4]},
        seeds=2,
    )


def told(text, start):
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line


def test_lazy_training_has_its_exponents_over_the_highest_decades(scaled):
    answer = analyze("lazy_training", scaled)
    assert answer.text.startswith("Exponents from α = 10 to 1000.")
    assert len(answer.table) == 4 * len(scaled)
    for name in ("relative_weight_change", "kernel_distance"):
        row = exponents(scaled, {"it": name}, "regimes.it.alpha", between=(10, 1000)).loc["it"]
        assert interval(row) in told(answer.text, words(name))
    assert row["estimate"] == pytest.approx(-2, abs=0.1)
    assert "theory -2" in told(answer.text, "Kernel distance")
    assert analyze("lazy_training", scaled, decades=9).text.startswith("Exponents from α = 1 to 1000.")
    assert [axis.get_xlabel() for axis in answer.figure.axes] == ["Output scale α"] * 4


def test_width_convergence_is_of_the_longest_runs(widths):
    answer = analyze("width_convergence", widths)
    panels = answer.table.dropna(subset=["value"])
    assert len(panels) == 4 * 3 * 2
    assert set(panels["strategy.epochs"]) == {4}
    paths = answer.table.dropna(subset=["network"])
    assert sorted(set(paths["step"])) == [1, 2, 4, 8]  # two tasks of 1 and of 4 epochs
    assert [axis.get_title() or axis.get_title(loc="left") for axis in answer.figure.axes][4:] == [
        "Width 4",
        "Width 32",
    ]
    for axis, width in zip(answer.figure.axes[4:], (4, 32), strict=True):
        dots = [line.get_ydata() for line in axis.get_lines()[::3]]
        rows = paths[paths["model.width"] == width].groupby("example")["network"]
        for drawn, (_, own) in zip(dots, rows, strict=True):
            assert list(drawn) == list(own)
    assert told(answer.text, "Kernel error at init: power of the width -")


def test_a_sweep_of_width_alone_will_do(widths):
    alone = widths.where({"strategy.epochs": 4})
    answer = analyze("width_convergence", alone)
    assert len(answer.table.dropna(subset=["value"])) == 4 * 3 * 2


@pytest.mark.parametrize("name", ["lazy_training", "width_convergence"])
def test_other_runs_are_not_for_them(name, scaled, widths):
    other = widths if name == "lazy_training" else scaled
    with pytest.raises(NotApplicable, match=f"^{name}: expected one regime, with a sweep of "):
        analyze(name, other)


@pytest.mark.parametrize(("name", "runs", "key"), [("lazy_training", 70, ".alpha"), ("width", 150, ".width")])
def test_protocols_sweep_enough(name, runs, key):
    protocol = load(name)
    specs = expand(protocol)
    assert len(specs) == runs
    (values,) = (values for axis, values in protocol.sweep.items() if axis.endswith(key))
    assert max(values) / min(values) >= 32
    assert len({spec.seed for spec in specs}) >= 5
    assert all(claim.seeds >= 5 for claim in protocol.published)
