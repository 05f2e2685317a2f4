"""What compare_regimes takes from a set of runs: which axis is compared, which split the table, in which order."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from clntk.errors import DataError
from clntk.stats.regimes import compare_regimes

SEEDS = range(7)


def fake_runs(*points, regimes=("rich", "lazy"), axes=None):
    """What compare_regimes asks of a RunSet; each point of the sweep raises the values of all its seeds by 10."""
    rng = np.random.default_rng(0)
    scalars = pd.DataFrame(
        {"regime": regime, "seed": seed, **point, "measure": "forgetting", "value": 10 * i + j + rng.normal()}
        for i, point in enumerate(points)
        for j, regime in enumerate(regimes)
        for seed in SEEDS
    )
    runs = SimpleNamespace(
        axes=list(dict.fromkeys(key for point in points for key in point)) if axes is None else axes,
        regimes=list(regimes),
        scalars=lambda measures: scalars,
    )
    runs.one_protocol = lambda: runs
    return runs


def swept():
    return fake_runs(
        *({"model.width": width, "strategy.name": s} for width in (64, 8) for s in ("si", "ewc"))
    )


def test_regimes_are_compared_at_each_point_of_the_sweep():
    table = compare_regimes(swept())
    assert list(table.columns[:4]) == ["model.width", "strategy.name", "measure", "regime"]
    assert len(table) == 2 * 2 * 2
    assert (table.query("regime == 'lazy'").n_pairs == len(SEEDS)).all()


def test_a_swept_setting_is_compared_in_each_regime_and_at_each_other_point():
    table = compare_regimes(swept(), by="model.width")
    assert list(table.columns[:4]) == ["regime", "strategy.name", "measure", "model.width"]
    assert table["model.width"].tolist() == [8, 64] * 4
    assert set(table.baseline) == {8}  # the lowest
    wide = table[table["model.width"] == 64]
    assert (wide.n_pairs == len(SEEDS)).all()
    assert (wide.difference < -15).all()


def test_names_are_in_alphabetical_order_and_the_baseline_can_be_named():
    table = compare_regimes(swept(), by="strategy.name", baseline="si")
    assert table["strategy.name"].tolist() == ["ewc", "si"] * 4
    assert set(table.baseline) == {"si"}
    assert compare_regimes(swept(), by="model.width", baseline="64").baseline.tolist() == [64] * 8


def test_options_that_belong_to_a_component_go_with_its_name():
    points = [
        {"strategy.name": name, "strategy.memory_size": size, "strategy.lr": 0.1}
        for name, size in (("replay", 200), ("gem", 100), ("naive", None))
    ]
    table = compare_regimes(
        fake_runs(*points, axes=["strategy.name", "strategy.memory_size"]), by="strategy.name"
    )
    assert list(table.columns[:3]) == ["regime", "measure", "strategy.name"]
    assert table["strategy.name"].tolist() == ["gem", "naive", "replay"] * 2
    assert table.n_pairs.tolist() == [0, 7, 7] * 2


def test_options_that_are_swept_themselves_still_split_the_table():
    points = [{"strategy.name": name, "strategy.lr": lr} for name in ("ewc", "si") for lr in (0.1, 0.2)]
    table = compare_regimes(fake_runs(*points), by="strategy.name")
    assert list(table.columns[:4]) == ["regime", "strategy.lr", "measure", "strategy.name"]
    points = [{"strategy.name": "ewc", "strategy.clip": clip} for clip in (None, 1.0)]
    points += [{"strategy.name": "si", "strategy.clip": 1.0}]
    assert "strategy.clip" in compare_regimes(
        fake_runs(*points), by="strategy.name"
    )  # not given is a value, too
    other = [{"strategy.name": "ewc", "model.width": 8}, {"strategy.name": "si", "model.width": 64}]
    confounded = compare_regimes(fake_runs(*other), by="strategy.name")
    assert (confounded.n_pairs == 0).all()  # strategies of different widths are not compared


def test_runs_without_a_value_of_what_is_compared_are_left_out():
    points = [{"strategy.ewc_lambda": value} for value in (None, 1.0, 10.0)]
    table = compare_regimes(fake_runs(*points), by="strategy.ewc_lambda")
    assert table["strategy.ewc_lambda"].tolist() == [1.0, 10.0] * 2
    assert table.n.tolist() == [7] * 4


def test_options_are_passed_on():
    runs = fake_runs({})
    table = compare_regimes(runs, paired=False, correction="fdr", level=0.5)
    assert set(table.test) == {"permutation"}
    assert set(table.correction) == {"fdr"}
    assert ((table.high - table.low) < (compare_regimes(runs).high - compare_regimes(runs).low)).all()
    assert (compare_regimes(runs, seed=1).low != compare_regimes(runs).low).any()


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("model.widht", "found 'model.widht'; did you mean 'model.width'"),
        ("seed", r"\(regime, model.width, strategy.name\), found 'seed'; sweep it in the protocol"),
    ],
)
def test_only_what_the_runs_differ_in_can_be_compared(by, message):
    with pytest.raises(DataError, match=f"compare_regimes, by: .*{message}"):
        compare_regimes(swept(), by=by)


def test_the_command_line_has_the_same_choices(smoke_runs, tmp_path, cli):
    options = ["-m", "forgetting", "--unpaired", "--correction", "fdr", "--out", tmp_path]
    done = cli("compare", smoke_runs.root, *options)
    assert done.code == 0
    assert "between independent samples" in done.out
    assert "p (FDR)" in done.out
    saved = pd.read_csv(tmp_path / "comparison.csv")
    assert set(saved.test) == {"permutation"}
    failed = cli("compare", smoke_runs.root, "--by", "model.width")
    assert failed.code == 1
    assert "expected what runs differ in (regime), found 'model.width'" in failed.err
