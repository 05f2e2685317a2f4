"""Kernel forecasts and kept logits against numbers by hand, on constructed facts."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import log_softmax

from clntk import registry
from clntk.measures.kernel_forecast import judged

PHASES, TASKS = ["task0", "task1", "task0.2"], ["task0", "task1"]
DIMS = ("checkpoint", "eval_task", "probe", "output")


@pytest.fixture
def make_fact():
    """A forecast of two tasks of three probes and two outputs, the first trained twice, and its probes."""

    def make(loss="squared_error", values=True, heads=((1, 1), (1, 1))):
        rng = np.random.default_rng(0)
        shape = (3, 2, 3, 2)
        fact = xr.Dataset(
            {
                "predicted": (("kernel", *DIMS), rng.normal(size=(2, *shape))),
                "start": (("kernel", *DIMS), rng.normal(size=(2, *shape))),
                "actual": (DIMS, rng.normal(size=shape)),
                "trained": (DIMS[:2], [[True, False], [False, True], [True, False]]),
            },
            coords={"kernel": ["init", "task start"], "checkpoint": PHASES, "eval_task": TASKS},
            attrs={"loss": loss},
        )
        y = rng.normal(size=(2, 3, 2)) if values else rng.integers(2, size=(2, 3))
        targets = (("eval_task", "probe", "target_0")[: y.ndim], y)
        probes = xr.Dataset(
            {"targets": targets, "heads": (("eval_task", "output"), np.array(heads, bool))},
            coords={"eval_task": TASKS},
        )
        return fact, probes

    return make


def _loss(f, y, kind, head):
    """One task's, by a loop over its probes."""
    found = []
    for out, target in zip(f, y, strict=True):
        if kind == "cross_entropy":
            found.append(-log_softmax(out[head])[list(np.flatnonzero(head)).index(target)])
        else:
            wanted = target if np.ndim(target) else np.eye(2)[target]
            found.append(0.5 * sum((o - w) ** 2 for o, w, h in zip(out, wanted, head, strict=True) if h))
    return np.mean(found)


@pytest.mark.parametrize(
    ("loss", "values"), [("squared_error", True), ("squared_error", False), ("cross_entropy", False)]
)
def test_losses_and_forgetting_by_hand(loss, values, make_fact):
    fact, probes = make_fact(loss, values)
    found = judged(fact, probes)
    losses = {
        name: np.array(
            [[_loss(f[t], probes.targets.values[t], loss, np.ones(2, bool)) for t in (0, 1)] for f in of]
        )
        for name, of in {
            "actual": fact.actual.values,
            "init": fact.predicted.values[0],
            "task start": fact.predicted.values[1],
        }.items()
    }
    np.testing.assert_allclose(found.actual, losses["actual"])
    nothing = np.nan
    for kernel, known in (("init", "init"), ("task start", "actual")):
        now, then = losses[kernel], losses[known]
        at = found.sel(kernel=kernel)
        np.testing.assert_allclose(at.predicted, now)
        by_hand = [
            [nothing, nothing],
            [now[1, 0] - then[0, 0], nothing],
            [now[2, 0] - then[0, 0], now[2, 1] - then[1, 1]],
        ]
        np.testing.assert_allclose(at.predicted_forgetting, by_hand)
    was = losses["actual"]
    by_hand = [
        [nothing, nothing],
        [was[1, 0] - was[0, 0], nothing],
        [was[2, 0] - was[0, 0], was[2, 1] - was[1, 1]],
    ]
    np.testing.assert_allclose(found.actual_forgetting, by_hand)


def test_outputs_outside_a_head_have_no_part(make_fact):
    fact, probes = make_fact(heads=((1, 0), (0, 1)))
    found = judged(fact, probes)
    other = fact.copy(deep=True)
    other["actual"][:, 0, :, 1] = 1e6
    xr.testing.assert_equal(found.actual, judged(other, probes).actual)
    y = probes.targets.values
    assert float(found.actual[1, 1]) == pytest.approx(
        _loss(fact.actual.values[1, 1], y[1], "squared_error", np.array([False, True]))
    )


def test_departures_by_hand(make_fact):
    fact, _ = make_fact()
    for k, kernel in enumerate(("init", "task start")):
        found = registry.get("measure", "forecast_departure")(fact, kernel=kernel)
        assert found.dims == ("checkpoint", "eval_task")
        for c, t in np.ndindex(3, 2):
            off = np.linalg.norm(fact.predicted.values[k, c, t] - fact.actual.values[c, t])
            moved = np.linalg.norm(fact.actual.values[c, t] - fact.start.values[k, c, t])
            assert float(found[c, t]) == pytest.approx(off / moved)


def test_a_forecast_that_is_right_departs_by_nothing_and_one_of_no_change_by_all(make_fact):
    fact, probes = make_fact()
    right = fact.assign(predicted=fact.actual.broadcast_like(fact.predicted).transpose(*fact.predicted.dims))
    departure, forgetting = (
        registry.get("measure", f"forecast_{name}") for name in ("departure", "forgetting")
    )
    assert (departure(right) == 0).all()
    found = forgetting(right, probes)
    xr.testing.assert_allclose(found.predicted, found.actual.rename("predicted"))
    assert np.isnan(found.error[0])
    assert (found.error[1:] == 0).all()
    np.testing.assert_allclose(departure(fact.assign(predicted=fact.start)), 1)


def test_the_error_of_forgetting_is_over_tasks_learned_before(make_fact):
    fact, probes = make_fact()
    found = registry.get("measure", "forecast_forgetting")(fact, probes, kernel="task start")
    off, lost = (found.predicted - found.actual).values[2], found.actual.values[2]
    assert float(found.error[2]) == pytest.approx(np.linalg.norm(off) / np.linalg.norm(lost))
    assert float(found.error[1]) == pytest.approx(
        abs((found.predicted - found.actual).values[1, 0] / found.actual[1, 0])
    )


def test_where_nothing_moved_or_nothing_is_predicted_there_is_no_number(make_fact):
    fact, probes = make_fact()
    still = fact.assign(start=fact.actual.broadcast_like(fact.start).transpose(*fact.start.dims))
    assert registry.get("measure", "forecast_departure")(still).isnull().all()
    none = fact.assign(predicted=fact.predicted * np.nan)
    assert registry.get("measure", "forecast_departure")(none).isnull().all()
    found = registry.get("measure", "forecast_forgetting")(none, probes)
    assert found.predicted.isnull().all()
    assert found.error.isnull().all()
    assert found.actual[1:, 0].notnull().all()


# --- kept logits ------------------------------------------------------------------------------------------


@pytest.fixture
def kept():
    """Two logits kept after the first phase and one after the second, of three."""
    logit = [[0.0, 0, 0], [3, 4, 9], [3, 5, 10], [6, 4, 13]]
    loss = [[9.0, 9, 9], [1, 2, 8], [1.5, 2, 3], [4, 2, 3.5]]
    return xr.Dataset(
        {
            "logit": (("checkpoint", "kept"), np.array(logit)),
            "loss": (("checkpoint", "kept"), np.array(loss)),
            "since": ("kept", ["a", "a", "b"]),
            "before": ("kept", ["init", "init", "a"]),
        },
        coords={"checkpoint": ["init", "a", "b", "c"]},
    )


def test_what_kept_logits_lose_by_hand(kept):
    found = registry.get("measure", "kept_forgetting")(kept)
    assert found.checkpoint.values.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(found["loss"], [np.nan, 0.25, (3 + 0 + 0.5) / 3])
    np.testing.assert_allclose(found["drift"], [np.nan, 1 / 5, np.sqrt((9 + 0 + 9) / (9 + 16 + 1))])


def test_logits_that_never_moved_have_no_drift(kept):
    still = kept.assign(logit=kept["logit"] * 0)
    assert registry.get("measure", "kept_forgetting")(still)["drift"].isnull().all()
