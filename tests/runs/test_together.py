"""Runs trained together: the same as one by one, whatever happens to some of them."""

import numpy as np
import pytest
import torch

import clntk
from clntk.errors import ClntkError
from clntk.protocol import expand, load
from clntk.runs import together as module
from clntk.runs.events import What
from clntk.runs.reproduce import reproduce
from clntk.runs.run import run_specs
from clntk.runs.store import RunStore
from clntk.runs.together import candidates, execute_together
from clntk.strategies.avalanche import together as epochs

BLOBS = {"name": "context_blobs", "schedule": "blocked"}
MODEL = {"name": "mlp", "width": 12, "depth": 1}
PLAIN = {
    "name": "naive",
    "epochs": 40,
    "batch_size": None,
    "lr": 0.004,
    "momentum": 0.5,
    "loss": "sum_squared_error",
}
DIGITS = {"name": "split_digits", "n_tasks": 2, "n_probe": 4}
SHORT = {"name": "naive", "epochs": 2, "batch_size": 64, "lr": 0.1}


@pytest.fixture
def both(write_protocol, tmp_path):
    """The runs of a protocol, trained one by one and together, by regime and seed; and how many epochs were shared."""

    def run(*overrides, **parts):
        path = write_protocol(tmp_path, **{"stream": BLOBS, "model": MODEL, "strategy": PLAIN} | parts)
        stores = {how: tmp_path / f"together-{how}" for how in (False, True)}
        sets = {how: clntk.run(path, overrides, store=store, together=how) for how, store in stores.items()}
        return [{(r.spec.regime, r.spec.seed, str(r.spec.cell)): r for r in sets[how]} for how in stores]

    return run


def shared(run):
    """Phases of a run whose epochs were taken together with others."""
    return (run.path / "log.txt").read_text().count("were taken together with")


def assert_the_same(alone, together):
    assert alone.keys() == together.keys()
    for key, one in alone.items():
        other = together[key]
        assert other.run_id == one.run_id
        np.testing.assert_array_equal(other.fact("metrics")["step"], one.fact("metrics")["step"])
        for name, values in one.fact("weights").items():
            np.testing.assert_allclose(other.fact("weights")[name], values, rtol=0, atol=1e-6, err_msg=name)
        for name in ("loss", "accuracy"):
            steps = other.fact("losses")[name], one.fact("losses")[name]
            np.testing.assert_allclose(*steps, rtol=1e-5, atol=1e-6, err_msg=name)
        for name in ("test_loss", "train_loss", "test_accuracy"):
            np.testing.assert_allclose(
                other.fact("metrics")[name], one.fact("metrics")[name], rtol=1e-5, atol=1e-6
            )


TWO_SCALES = {"small": {"name": "init_scale", "scale": 0.5}, "large": {"name": "init_scale", "scale": 1.5}}


def test_seeds_and_regimes_of_one_architecture_train_together(both):
    alone, together = both("seeds=2", regimes=TWO_SCALES)
    assert_the_same(alone, together)
    assert [shared(run) for run in together.values()] == [2] * 4
    assert [shared(run) for run in alone.values()] == [0] * 4
    assert "with those of 3 other runs" in (together["small", 0, "{}"].path / "log.txt").read_text()
    assert {run.provenance["trained"] for run in together.values()} == {"beside 3 other runs"}
    found = reproduce(together["small", 0, "{}"].path)
    assert found.circumstances == {"trained": ("beside 3 other runs", "alone")}


def test_minibatches_are_drawn_in_each_runs_own_order(both):
    alone, together = both("seeds=3", stream=DIGITS, strategy=SHORT | {"batch_size": 37})
    assert_the_same(alone, together)
    assert all(shared(run) == 2 for run in together.values())


def test_runs_stop_at_a_matched_loss_each_at_its_own_step(both):
    strategy = PLAIN | {"epochs": 500, "stop_loss": 6.0, "stop_check": 3}
    alone, together = both("seeds=4", strategy=strategy)
    assert_the_same(alone, together)
    steps = [run.fact("metrics")["step"].values for run in together.values()]
    assert len({int(s[1]) for s in steps}) > 2
    assert min(s[1] for s in steps) < 500
    assert all(shared(run) == 2 for run in together.values())


def test_a_stop_in_the_middle_of_an_epoch(both):
    strategy = SHORT | {"epochs": 5, "batch_size": 16, "stop_loss": 0.5, "stop_check": 2}
    alone, together = both("seeds=3", stream=DIGITS, strategy=strategy)
    assert_the_same(alone, together)
    assert len({tuple(run.fact("metrics")["step"].values) for run in alone.values()}) > 1


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "cumulative", "stop_loss": 0.4, "stop_check": 5},
        {"name": "joint"},
        {"name": "naive", "optimizer": "adam", "lr": 0.01},
        {"name": "naive", "loss": "squared_error", "weight_decay": 0.01},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
@pytest.mark.parametrize("head", ["single", "multi"])
def test_strategies_that_step_down_the_loss_compose(both, strategy, head):
    alone, together = both("seeds=2", stream=DIGITS | {"head": head}, strategy=SHORT | strategy)
    assert_the_same(alone, together)
    assert all(shared(run) for run in together.values())


@pytest.mark.parametrize(
    ("name", "phases"), [("ewc", 0), ("er_ace", 0), ("replay", 1)]
)  # nothing to replay at first
def test_strategies_of_their_own_train_one_by_one_without_a_word(both, name, phases):
    alone, together = both("seeds=2", stream=DIGITS, strategy=SHORT | {"name": name})
    assert_the_same(alone, together)
    assert [shared(run) for run in together.values()] == [phases] * 2


def test_adam_after_unequal_phases_goes_alone_and_comes_out_the_same(both):
    strategy = PLAIN | {"optimizer": "adam", "lr": 0.01, "epochs": 400, "stop_loss": 2.0, "momentum": 0.0}
    alone, together = both("seeds=3", strategy=strategy)
    assert_the_same(alone, together)
    first = [int(run.fact("metrics")["step"][1]) for run in together.values()]
    assert sorted(first)[0] != sorted(first)[-1]
    assert [shared(run) for run in together.values()] == [1 + (first.count(steps) > 1) for steps in first]


def test_a_sweep_falls_into_groups(both):
    alone, together = both("seeds=2", sweep={"model.width": [8, 12]})
    assert_the_same(alone, together)
    assert all(shared(run) == 2 for run in together.values())
    assert "with those of 1 other runs" in (next(iter(together.values())).path / "log.txt").read_text()


def test_a_run_that_diverges_fails_alone_and_at_the_same_step(write_protocol, tmp_path):
    regimes = {"calm": {"name": "init_scale", "scale": 1.0}, "wild": {"name": "init_scale", "scale": 1e12}}
    path = write_protocol(
        tmp_path, stream=BLOBS, model=MODEL, strategy=PLAIN, regimes=regimes, seeds=2, sweep={}
    )
    failures = []
    for how in (False, True):
        runs = clntk.run(path, store=tmp_path / str(how), together=how)
        assert runs.regimes == ["calm"]
        assert len(runs) == 2
        store = RunStore(tmp_path / str(how))
        failures.append({s.run_id: store.failure(s.run_id) for s in runs.failures})
    alone, together = failures
    assert len(alone) == 2
    assert together == alone


def test_a_stack_that_fails_its_check_is_trained_one_by_one(both, monkeypatch):
    def refuse(*_):
        raise epochs.NotAlike("no")

    monkeypatch.setattr(epochs.Stack, "check", refuse)
    alone, together = both("seeds=2")
    assert_the_same(alone, together)
    assert [shared(run) for run in together.values()] == [0, 0]


def test_as_many_at_once_as_the_memory_holds(write_protocol, tmp_path, monkeypatch):
    path = write_protocol(
        tmp_path, stream=BLOBS, model=MODEL, strategy=PLAIN | {"epochs": 2}, seeds=5, sweep={}
    )
    monkeypatch.setattr(module, "free_memory", lambda device: 4 * 15)
    monkeypatch.setattr(epochs, "footprint", lambda learner: 10)
    seen = []
    runs = clntk.run(
        path,
        store=tmp_path / "few",
        together=True,
        listener=lambda e: seen.append(e.what) if e.what in (What.STARTED, What.DONE) else None,
    )
    counts = [seen[: i + 1].count(What.STARTED) - seen[:i].count(What.DONE) for i in range(len(seen))]
    assert len(runs) == len(seen) / 2
    assert max(counts) == 2
    assert sorted({shared(run) for run in runs}) in ([2], [0, 2])


def test_what_is_done_busy_or_failed_before_is_told_apart(write_protocol, tmp_path):
    path = write_protocol(
        tmp_path, stream=BLOBS, model=MODEL, strategy=PLAIN | {"epochs": 2}, seeds=3, sweep={}
    )
    specs = expand(load(path))
    store = RunStore(tmp_path / "runs")
    store.enrol(specs)
    execute_together(specs[:1], store)
    with store.lock(specs[1].run_id):
        outcomes = execute_together(specs, store)
    assert [o.status for o in outcomes[:3]] == ["skipped", "busy", "done"]
    assert [o.run_id for o in outcomes] == [s.run_id for s in specs]
    tally = run_specs(specs, store=tmp_path / "runs", together=True)
    assert tally.count("done") == 1
    assert tally.count("skipped") == len(specs) - 1


@pytest.mark.parametrize("name", ["naive", "replay"])  # which trains alone once it has something to replay
def test_interrupted_together_and_gone_on_with_alone_or_together(write_protocol, tmp_path, name):
    strategy = PLAIN | {"epochs": 30, "name": name}
    path = write_protocol(tmp_path, stream=BLOBS, model=MODEL, strategy=strategy, seeds=3, sweep={})
    keys = lambda runs: {(r.spec.regime, r.spec.seed): r for r in runs}  # noqa: E731
    whole = keys(clntk.run(path, store=tmp_path / "whole"))

    def interrupt(event):
        if event.what is What.BOUNDARY and event.spec.seed == 1:
            raise KeyboardInterrupt

    for how in (False, True):
        store = tmp_path / f"then-{how}"
        with pytest.raises(KeyboardInterrupt):
            clntk.run(path, store=store, together=True, listener=interrupt)
        assert not any(RunStore(store).is_published(r.run_id) for r in whole.values())
        assert_the_same(whole, keys(clntk.run(path, store=store, together=how)))


def test_the_callers_threads_come_back_and_nothing_stays_locked(write_protocol, tmp_path):
    path = write_protocol(
        tmp_path, stream=BLOBS, model=MODEL, strategy=PLAIN | {"epochs": 2}, seeds=2, sweep={}
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = clntk.run(path, store=tmp_path / "runs", together=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for run in runs:
        with RunStore(tmp_path / "runs").lock(run.run_id):
            pass
    assert not list((tmp_path / "runs" / ".work").iterdir())


def test_all_failed_is_an_error_together_too(write_protocol, tmp_path):
    path = write_protocol(
        tmp_path, stream=BLOBS, model=MODEL, strategy=PLAIN | {"lr": 1e30}, seeds=2, sweep={}
    )
    with pytest.raises(ClntkError, match=r"all \d runs failed; the first says: training diverged"):
        clntk.run(path, store=tmp_path / "runs", together=True)


def test_candidates_share_all_but_regime_and_seed():
    specs = expand(load("smoke", ["sweep.model.width=[8,16]"]))
    groups = candidates(specs)
    assert [len(group) for group in groups] == [4, 4]
    assert sorted(s.run_id for g in groups for s in g) == sorted(s.run_id for s in specs)
    assert all(len({s.model["width"] for s in group}) == 1 for group in groups)


def test_the_command_line_says_how_to_go_on(cli, tmp_path):
    done = cli("run", "smoke", "seeds=1", "strategy.epochs=1", "--store", tmp_path / "runs", "--together")
    assert done.code == 0
    assert "2 of 2 runs done" in done.out
