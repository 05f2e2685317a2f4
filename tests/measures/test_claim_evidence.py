"""Evidence and verdict on simulated runs built to be localist, distributed, or tuned but unprotected."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import test_lesions
import xarray as xr

from clntk.axes import INIT
from clntk.measures.claim_evidence import claim_evidence
from clntk.measures.coding import coding
from clntk.measures.drift import kernel_distance
from clntk.measures.geometry import dimensionality
from clntk.runs.lesions import lesions
from clntk.stats.claim import beside_the_laziest, judged, verdicts

TASKS = ["task0", "task1", "task2"]
PROBES, UNITS = 24, 30
LABELS = [INIT, *TASKS]


def responses(kind, rng):
    """Tasks × probes × units: what units do on every task's probes."""
    dense = np.maximum(rng.normal(size=(3, PROBES, UNITS)), 0)
    if kind == "dense":
        return dense
    amplitude = rng.uniform(0.5, 1.5, size=(3, PROBES, 1))  # one number a probe: a code of few dimensions
    own = np.eye(3).repeat(UNITS // 3, axis=1)[:, None]
    return amplitude * own + 0.01 * dense if kind == "own" else amplitude + 0.01 * dense


def activations(end, rng):
    stages = [responses("dense", rng), *[responses(end, rng)] * 3]
    dims = ("checkpoint", "eval_task", "probe", "unit")
    return {
        "hidden": xr.DataArray(np.stack(stages), dims=dims, coords={"checkpoint": LABELS, "eval_task": TASKS})
    }


def kernels(overlap, rng):
    """Task blocks whose cross-task overlap is given for the end, and .8 at the start."""
    gram = rng.normal(size=(PROBES, 2 * PROBES))
    gram = gram @ gram.T
    blocks = [
        np.where(np.eye(3, dtype=bool), 1.0, level)[..., None, None] * gram for level in (0.8, *[overlap] * 3)
    ]
    dims = ("checkpoint", "eval_task", "other_task", "probe", "other_probe")
    coords = {"checkpoint": LABELS, "eval_task": TASKS, "other_task": TASKS}
    return xr.DataArray(np.stack(blocks), dims=dims, coords=coords)


def metrics(lost):
    accuracy = np.array(
        [[0.1, 0.1, 0.1], [0.9, 0.1, 0.1], [0.9 - lost, 0.9, 0.1], [0.9 - lost, 0.9 - lost, 0.9]]
    )
    trained = np.concatenate([np.zeros((1, 3), bool), np.eye(3, dtype=bool)])
    dims = ("checkpoint", "eval_task")
    return xr.Dataset(
        {"test_accuracy": (dims, accuracy), "test_loss": (dims, -accuracy), "trained": (dims, trained)},
        coords={"checkpoint": LABELS, "eval_task": TASKS},
    )


@cache
def lesioned(name):
    return lesions(test_lesions.run_of(getattr(test_lesions, name)()))


# the code at the end, the network that is lesioned, the overlap of kernels at the end, the accuracy lost
KINDS = {
    "localist": ("own", "localist", 0.1, 0.0),
    "distributed": ("all", "distributed", 0.8, 0.4),
    "tuned, unprotected": ("own", "unprotected", 0.75, 0.4),
    "a code of many dimensions": ("dense", "localist", 0.1, 0.0),
}


def evidence(kind, seed):
    code, network, overlap, lost = KINDS[kind]
    rng = np.random.default_rng(seed)
    facts = (
        activations(code, rng),
        lesioned(network),
        kernels(overlap, rng),
        metrics(lost + 0.01 * rng.random()),
    )
    return claim_evidence(*facts)


def table(kind, n=5, control=0.4):
    """What is said of a kind of run, beside a lazy regime that forgets as much as told."""
    rows = [
        {"regime": "rich", "seed": s, **{k: float(v) for k, v in evidence(kind, s).items()}} for s in range(n)
    ]
    lazy = [{"regime": "lazy", "seed": s, "movement": 0.0, "retention": -control} for s in range(n)]
    beside = beside_the_laziest(pd.DataFrame([*rows, *lazy]), within=[])
    return judged(beside[beside["regime"] == "rich"].assign(condition=kind))


@pytest.mark.parametrize(
    ("kind", "verdict", "findings"),
    [
        ("localist", "supported", ["met"] * 6),
        ("distributed", "not supported", ["met", *["missed"] * 5]),
        ("tuned, unprotected", "not supported", ["met", "met", *["missed"] * 4]),
        ("a code of many dimensions", "not supported", ["missed", "missed", *["met"] * 4]),
    ],
)
def test_the_verdict_is_that_of_how_the_run_was_built(kind, verdict, findings):
    found = table(kind)
    expected = dict(zip(found["criterion"], findings, strict=True))
    known = found[found["n"] > 0]
    assert list(known["finding"]) == [expected[criterion] for criterion in known["criterion"]]
    assert set(found["criterion"][found["n"] == 0]) <= {
        "specificity"
    }  # without tuned units there is none to lesion
    assert verdicts(found) == {kind: verdict}


def test_a_code_is_not_what_protects_where_the_lazy_network_forgets_nothing_either():
    found = table("localist", control=0.0).set_index("criterion")["finding"]
    assert found.pop("protection") == "missed"
    assert set(found) == {"met"}
    assert verdicts(table("localist", control=0.0)) == {"localist": "not supported"}


def test_the_numbers_are_those_of_the_measures_they_are_made_of():
    rng = np.random.default_rng(0)
    code, gram, scores = activations("own", rng), kernels(0.2, rng), metrics(0.3)
    found = claim_evidence(code, lesioned("localist"), gram, scores)
    dimension = dimensionality(code)["participation_ratio"].isel(layer=0).mean("eval_task").values
    units = coding(code)["one_task"].isel(layer=0).values
    assert float(found["compression"]) == pytest.approx(np.log2(dimension[0] / dimension[-1]))
    assert float(found["tuning"]) == pytest.approx(units[-1] - units[0])
    assert float(found["separation"]) == pytest.approx(1 - 0.2 / 0.8)
    assert float(found["retention"]) == pytest.approx(-0.3)
    assert float(found["movement"]) == pytest.approx(float(kernel_distance(gram)[-1].mean()))
    assert float(found["specificity"]) == pytest.approx(
        0.5, abs=0.1
    )  # accuracy falls to chance in the own task alone


def test_a_dead_layer_and_a_joint_run_leave_numbers_open():
    rng = np.random.default_rng(1)
    code = {"hidden": activations("own", rng)["hidden"] * [[[[1]]], [[[1]]], [[[1]]], [[[0]]]]}
    joint = metrics(0.0).isel(checkpoint=[0, 3])
    joint["trained"] = joint["trained"].copy(data=[[False] * 3, [True] * 3])
    found = claim_evidence(code, lesioned("localist"), kernels(0.2, rng), joint)
    assert np.isnan(found["compression"])
    assert np.isnan(found["retention"])
    assert float(found["tuning"]) <= 0
