"""What a reader can choose of an analysis' table."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from clntk.report.explore import roles


def table(**columns):
    """Two conditions × two seeds × two checkpoints × two tasks, with one value."""
    keys = ["condition", "seed", "checkpoint", "eval_task"]
    index = pd.MultiIndex.from_product([["rich", "lazy"], [0, 1], ["init", "A"], ["A", "B"]], names=keys)
    return index.to_frame(index=False).assign(**{"value": np.linspace(1, 2, 16), **columns})


def found(frame, axes=()):
    return roles(frame, conditions=["rich", "lazy"], axes=list(axes))


def field(given, name):
    return next((dim for dim in given["dims"] if dim["field"] == name), None)


def test_a_measures_table_is_drawn_across_checkpoints_by_condition_and_seed():
    given = found(table())
    assert given["values"] == [["value", "Value"]]
    assert (given["series"], given["seed"]) == ("condition", "seed")
    assert [dim["field"] for dim in given["dims"]] == ["checkpoint", "eval_task"]
    assert field(given, "checkpoint")["ordered"]
    assert [name for name, _ in given["conditions"]] == ["rich", "lazy"]
    assert given["t"] == pytest.approx([t.ppf(0.975, 1)])


def test_there_is_no_mean_over_kinds_but_over_tasks_and_layers():
    given = found(table(quantity=["norm", "rank"] * 8, layer=["one", "two"] * 8))
    assert field(given, "quantity")["pick"]
    assert not field(given, "layer")["pick"]
    assert not field(given, "eval_task")["pick"]
    assert given["dims"].index(field(given, "quantity")) < given["dims"].index(field(given, "layer"))


def test_settings_of_the_sweep_are_parts_of_the_condition_and_nothing_is_drawn_across_them():
    frame = table(**{"regime": ["rich"] * 8 + ["lazy"] * 8, "model.width": [8, 16] * 8})
    given = found(frame, axes=["model.width"])
    for name in ("regime", "model.width"):
        assert field(given, name)["condition"]
        assert not field(given, name)["across"]
    assert [name for name, _ in given["values"]] == ["value"]


def test_what_the_checkpoint_tells_or_all_rows_share_is_no_choice():
    frame = table(only="one")
    frame["task"] = frame["checkpoint"].map({"init": "", "A": "A"})
    assert [dim["field"] for dim in found(frame)["dims"]] == ["checkpoint", "eval_task"]


def test_flags_and_counts_are_values_and_units_are_not():
    given = found(table(tuned=[True, False] * 8, n=range(16), unit=range(16)))
    assert [name for name, _ in given["values"]] == ["value", "tuned", "n"]
    assert field(given, "unit")["numeric"]


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([1e-5, 1e-5, 1e-2, 1e-2] * 4, True),
        ([1.0, 2.0, 3.0, 4.0] * 4, False),
        ([-1.0, 1e-5, 1e-5, 10.0] * 4, False),
        ([0.0, 0.0, 0.0, 0.0] * 4, False),
    ],
)
def test_the_axis_begins_logarithmic_where_conditions_lie_decades_apart(values, log):
    assert found(table(value=values))["log"] is log


def test_a_table_with_nothing_to_choose_or_to_draw_has_no_chart():
    assert found(pd.DataFrame({"condition": ["rich"], "value": [1.0]})) is None
    assert found(pd.DataFrame({"claim": ["a", "b"], "verdict": ["yes", "no"]})) is None


def test_a_table_without_conditions_is_of_all_runs():
    given = found(table().drop(columns=["condition", "seed"]))
    assert (given["series"], given["seed"], given["t"]) == (None, None, [])
    assert [name for name, _ in given["conditions"]] == ["all runs"]
