"""Outputs over steps beside closed forms, as a table."""

from types import SimpleNamespace

import numpy as np
import xarray as xr

from clntk.protocol.spec import RunSpec
from clntk.runs.runset import RunSet
from clntk.stats.in_time import outputs_in_time

DIMS = ("checkpoint", "eval_task", "example", "output")


def run(seed, width, steps, slopes):
    """Outputs that grow in proportion to steps, one slope an example; closed forms of them and twice as far."""
    spec = RunSpec(
        "p",
        "it",
        seed,
        {"name": "s"},
        {"name": "m", "width": width},
        {"name": "n", "epochs": steps},
        {"name": "r"},
        [],
    )
    f = (
        np.array([0, steps])[:, None, None, None]
        * np.stack([slopes, np.full(len(slopes), 9.0)])[None, :, :, None]
    )
    f = np.concatenate([f, f * np.nan], axis=-1)  # the second output is not looked at
    found = xr.Dataset(
        {"actual": (DIMS, f), "predicted": (("kernel", *DIMS), np.stack([f, 2 * f]))},
        coords={
            "kernel": ["empirical", "infinite"],
            "checkpoint": ["init", "end"],
            "step": ("checkpoint", [0, steps]),
            "eval_task": ["a", "b"],
        },
    )
    return SimpleNamespace(spec=spec, run_id=spec.run_id, fact={"closed_form": {"train": found}}.get)


SLOPES = np.array([0.5, -1.0, 3.0, 0.0, 2.0])
RUNS = [run(seed, w, k, SLOPES + seed) for seed in (0, 1) for w in (4, 8) for k in (1, 4)]


def test_one_row_for_every_width_step_and_example():
    table = outputs_in_time(RunSet(RUNS), seed=0, key="model.width")
    assert table.groupby(["model.width", "step"]).size().to_dict() == {
        (4, 1): 3,
        (4, 4): 3,
        (8, 1): 3,
        (8, 4): 3,
    }
    assert sorted(set(table["example"])) == [0, 1, 2]  # the lowest, the middle and the highest
    np.testing.assert_allclose(table["network"], SLOPES[table["example"]] * table["step"])
    np.testing.assert_allclose(table["empirical"], table["network"])
    np.testing.assert_allclose(table["infinite"], 2 * table["network"])


def test_seeds_and_numbers_of_examples_are_chosen():
    table = outputs_in_time(RunSet(RUNS), seed=1, key="model.width", examples=2)
    assert set(table["seed"]) == {1}
    assert sorted(set(table["example"])) == [1, 2]
    alone = outputs_in_time(RunSet(RUNS), seed=1, key="model.width", examples=1)
    assert set(alone["example"]) == {1}


def test_what_runs_share_on_their_way_is_taken_once():
    twice = [*RUNS, *(run(0, w, 4, SLOPES) for w in (4, 8))]
    twice[-1].spec.strategy["name"] = "other"
    again = outputs_in_time(RunSet(twice), seed=0, key="model.width")
    assert len(again) == len(outputs_in_time(RunSet(RUNS), seed=0, key="model.width"))
