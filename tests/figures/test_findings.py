"""Quantities gathered from runs, and what is said where there are none."""

import pandas as pd
import pytest

import clntk
from clntk.errors import DataError, StoreError
from clntk.figures.findings import (
    Findings,
    against_untrained,
    draws,
    ends,
    last,
    last_pairs,
    references,
    scored_by,
    whose_damage,
)
from clntk.stats.phrases import estimates


def test_a_quantity_is_the_measure_with_a_value(smoke_runs):
    found = Findings(smoke_runs)
    quantity = found.quantity("kernel_distance")
    measured = smoke_runs.measure("kernel_distance")
    pd.testing.assert_series_equal(quantity["value"], measured["kernel_distance"], check_names=False)
    assert set(quantity) == {*measured, "value"} - {"kernel_distance"}
    assert set(found.table()["quantity"]) == {"kernel_distance"}


def test_dimensions_that_a_quantity_lacks_do_not_repeat_it(smoke_runs):
    joint = Findings(smoke_runs).quantity(
        "dimensionality", "joint_participation_ratio", without=("eval_task",)
    )
    checkpoints, layers = 3, 1
    assert len(joint) == len(smoke_runs) * checkpoints * layers


def test_only_rows_that_are_kept_are_in_the_table(smoke_runs):
    found = Findings(smoke_runs)
    kept = found.quantity("cross_task_overlap", keep=last_pairs)
    assert (kept["eval_task"] != kept["other_task"]).all()
    assert set(kept["checkpoint"]) == {smoke_runs.runs[0].checkpoints[-1]}
    assert len(found.table()) == len(kept) == 2 * len(smoke_runs)


def test_a_reference_is_a_variable_of_the_same_measure(smoke_runs):
    quantity = Findings(smoke_runs).quantity("decoding", "accuracy", reference="chance", keep=last)
    tasks = quantity[quantity["decoded"] == "task"]
    assert (tasks["reference"] == 0.5).all()


def test_what_is_not_defined_is_said_and_not_drawn(smoke_runs):
    found = Findings(smoke_runs)
    assert found.quantity("rsa", "beta").empty
    found.quantity("kernel_distance")
    text = found.text("kernel_distance", "rsa").splitlines()
    assert text[0].startswith("Kernel distance: rich ")
    assert text[1:] == ["Not defined in these runs: Rsa, beta."]


def test_the_text_tells_of_the_numbers_asked_for_alone(smoke_runs):
    found = Findings(smoke_runs)
    found.quantity("coding", "one_task", null=20)
    (line,) = found.text("coding.one_task").splitlines()
    assert line.startswith("Coding, one task: rich ")


def test_the_text_is_of_the_measure_with_the_options_that_were_drawn(smoke_runs):
    found = Findings(smoke_runs)
    found.quantity("forgetting", of="loss")
    assert found.text("forgetting") == estimates(smoke_runs, [{"name": "forgetting", "of": "loss"}])


def test_a_measure_that_runs_cannot_give_costs_that_measure_alone(write_protocol, tmp_path):
    path = write_protocol(tmp_path, measures=[], probes=["outputs"])
    found = Findings(clntk.run(path, store=tmp_path / "runs"))
    assert found.quantity("kernel_distance").empty
    with pytest.raises(
        StoreError, match=r"nothing to draw.*Kernel distance.*add kernels to the protocol's probes"
    ):
        found.table()
    assert len(found.quantity("layer_weight_change"))
    assert "Not available: Kernel distance (" in found.text("kernel_distance", "layer_weight_change")
    assert "Layer weight change: plain " in found.text("kernel_distance", "layer_weight_change")


def test_a_measure_that_refuses_its_facts_is_told_likewise(smoke_runs):
    @clntk.register("measure")
    def hopeless(weights):
        """None whatever the weights."""
        raise DataError("expected better weights")

    found = Findings(smoke_runs)
    assert found.quantity("hopeless").empty
    assert found.text("hopeless") == "Not available: Hopeless (expected better weights)."


def ladder() -> pd.DataFrame:
    """Two runs of two layers at three checkpoints, whose value tells which is which."""
    rows = [
        (run, layer, checkpoint, 100 * r + 10 * i + k)
        for r, run in enumerate("ab")
        for i, layer in enumerate("xy")
        for k, checkpoint in enumerate(["init", "one", "two"])
    ]
    return pd.DataFrame(rows, columns=["run", "layer", "checkpoint", "value"])


def test_ends_are_the_untrained_network_and_the_last_checkpoint():
    assert set(ladder()[ends(ladder())]["checkpoint"]) == {"init", "two"}
    assert set(ladder()[last(ladder())]["checkpoint"]) == {"two"}


def test_a_run_is_compared_with_its_own_untrained_network():
    compared = against_untrained(ladder().assign(step=lambda t: t.index, task=lambda t: t["checkpoint"]))
    assert compared["value"].tolist() == [2, 12, 102, 112]
    assert compared["reference"].tolist() == [0, 10, 100, 110]
    assert against_untrained(pd.DataFrame()).empty


def test_damage_is_to_the_own_task_or_to_others():
    table = pd.DataFrame({"eval_task": ["a", "b"], "other_task": ["a", "a"]})
    assert whose_damage(table)["to"].tolist() == ["own task", "other tasks"]
    assert whose_damage(pd.DataFrame()).empty


def test_references_are_told_condition_by_condition():
    table = pd.DataFrame(
        {
            "condition": ["rich"] * 4 + ["lazy"] * 2,
            "seed": [0, 0, 1, 1, 0, 0],
            "to": ["own", "others"] * 3,
            "reference": [1.0, 5.0, 2.0, 6.0, 0.25, 0.5],
        }
    )
    assert (
        references("Chance", table, by="to") == "Chance: rich own 1.5, others 5.5; lazy own 0.25, others 0.5."
    )
    assert references("Chance", table) == "Chance: rich 3.5; lazy 0.375."
    assert references("Chance", table[:0]) == ""


def test_losses_are_looked_at_where_targets_have_no_accuracy(smoke_runs, write_protocol, tmp_path):
    path = write_protocol(
        tmp_path, stream={"name": "teacher_student", "n_train": 20}, measures=["kernel_distance"]
    )
    assert scored_by(clntk.run(path, store=tmp_path / "runs")) == "loss"
    assert scored_by(smoke_runs) == "accuracy"


def test_panels_without_anything_to_draw_are_left_out():
    full = pd.DataFrame({"value": [1.0]})
    seen = []

    def draw(axis, *, table, value, conditions, label, **options):
        seen.append((axis, value, conditions, label, options))

    panels = [("A", draw, full, {"log": True}), ("B", draw, full[:0], {})]
    (only,) = draws(panels, ["rich"])
    only("axis")
    assert seen == [("axis", "value", ["rich"], "A", {"log": True})]
