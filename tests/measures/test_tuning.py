"""Unit tuning on codes with known answers, and against a loop over units."""

import time
from fractions import Fraction

import numpy as np
import pytest
import torch
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.measures.summary import scalars
from clntk.measures.tuning import task_tuning, task_variance, unit_tuning

# units: localist, distributed, mixed, dead, negative, active on a single example of b, of opposite signs
TASKS = ["b", "b", "a", "a", "c", "c"]
CODE = np.array(
    [
        [0.0, 1.0, 3.0, 0.0, -1.0, 0.0, -4.0],
        [0.0, 1.0, 1.0, 0.0, -2.0, 8.0, 2.0],
        [4.0, 1.0, 1.0, 0.0, -1.0, 0.0, -1.0],
        [2.0, 1.0, 1.0, 0.0, -9.0, 0.0, -1.0],
        [0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.5],
        [0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.5],
    ]
)


def loop_tuning(activations, tasks):
    """One unit, one task at a time, in exact arithmetic."""
    order = list(dict.fromkeys(tasks))
    rows = []
    for column in np.asarray(activations).T:
        mean, active = [], 0
        for task in order:
            values = [Fraction(float(a)) for a, label in zip(column, tasks, strict=True) if label == task]
            mean.append(sum(max(a, Fraction(0)) for a in values) / len(values))
            active += any(a > 0 for a in values)
        top = max(mean)
        preferred = mean.index(top)
        others = sum(m for t, m in enumerate(mean) if t != preferred) / (len(order) - 1)
        selectivity = float((top - others) / (top + others)) if active else np.nan
        rows.append((selectivity, str(order[preferred]) if active else "", active))
    return rows


def test_codes_with_known_answers():
    result = task_tuning(CODE, TASKS)
    assert list(result.eval_task.values) == ["b", "a", "c"]
    expected = {
        "selectivity": [1.0, 0.0, 1 / 3, np.nan, np.nan, 1.0, 1 / 3],
        "preferred_task": ["a", "b", "b", "", "", "b", "b"],
        "active_tasks": [1, 3, 2, 0, 0, 1, 2],
        "task_only": [1, 0, 0, 0, 0, 1, 0],
        "mixed": [0, 1, 1, 0, 0, 0, 1],
        "dead": [0, 0, 0, 1, 1, 0, 0],
    }
    # mixed: means 2, 1, 0 give (2 − ½)/(2 + ½); of opposite signs: 1, 0, ½ give (1 − ¼)/(1 + ¼)
    expected["selectivity"][2] = expected["selectivity"][6] = 0.6
    for name, values in expected.items():
        if name == "preferred_task":
            assert list(result[name].values) == values
        else:
            np.testing.assert_allclose(result[name], values, rtol=1e-15, err_msg=name)


def test_mean_activation_is_raw_while_the_indices_are_rectified():
    result = task_tuning(CODE, TASKS)
    assert result.mean_activation.dims == ("unit", "eval_task")
    np.testing.assert_array_equal(result.mean_activation[6], [-1.0, -1.0, 0.5])
    assert result.preferred_task.values[6] == "b"


def test_types_are_those_stated():
    result = task_tuning(CODE, TASKS)
    assert result.sizes == {"unit": 7, "eval_task": 3, "other_task": 3}
    assert result.active_tasks.dtype.kind == "i"
    assert {result[name].dtype.kind for name in ("task_only", "mixed", "dead", "tuned")} == {"b"}
    assert result.preferred_task.dtype.kind in "UT"


@pytest.mark.parametrize("seed", range(4))
def test_against_a_loop_in_exact_arithmetic(seed):
    rng = np.random.default_rng(seed)
    activations = rng.normal(size=(40, 30)) - 1.5 * (rng.random(30) < 0.5)
    tasks = rng.integers(0, 5, 40).tolist()
    result, expected = task_tuning(activations, tasks), loop_tuning(activations, tasks)
    selectivity, preferred, active = zip(*expected, strict=True)
    np.testing.assert_allclose(result.selectivity, selectivity, rtol=1e-12)
    assert list(result.preferred_task.values) == list(preferred)
    assert list(result.active_tasks.values) == list(active)


def test_equal_responses_have_no_selectivity_at_all():
    # the mean of three times 0.1 is above 0.1 by rounding, which must not take the index below zero
    assert task_tuning([[0.1]] * 4, ["a", "b", "c", "d"]).selectivity.values[0] == 0.0


def test_a_unit_shifted_below_zero_is_dead_on_the_rectified_code():
    tanh = np.tanh(np.random.default_rng(0).normal(size=(6, 3))) - 1.0
    assert task_tuning(tanh, TASKS).dead.all()


def test_arrays_tensors_and_xarray_agree():
    expected = task_tuning(CODE, TASKS)
    tensor = torch.tensor(CODE, dtype=torch.bfloat16, requires_grad=True)
    numbers = torch.tensor([0, 0, 1, 1, 2, 2])
    xr.testing.assert_identical(
        task_tuning(xr.DataArray(CODE, dims=("probe", "unit")), np.array(TASKS)), expected
    )
    xr.testing.assert_identical(task_tuning(tensor, TASKS), expected)
    xr.testing.assert_identical(task_tuning(CODE.tolist(), xr.DataArray(TASKS, dims="probe")), expected)
    by_number = task_tuning(CODE, numbers)
    assert list(by_number.eval_task.values) == ["0", "1", "2"]
    assert list(by_number.preferred_task.values) == ["1", "0", "0", "", "", "0", "0"]
    np.testing.assert_array_equal(by_number.selectivity, expected.selectivity)


def test_labels_of_any_hashable_type():
    labels = [("grid", 1)] * 3 + [("grid", 2)] * 3
    assert list(task_tuning(CODE, labels).eval_task.values) == ["('grid', 1)", "('grid', 2)"]


def test_no_units_is_no_error():
    assert task_tuning(np.zeros((2, 0)), ["a", "b"]).sizes["unit"] == 0


def bad(value):
    code = CODE.copy()
    code[3, 2] = code[1, 5] = value
    return code


@pytest.mark.parametrize(
    ("activations", "tasks", "message"),
    [
        (CODE, ["a"] * 6, "expected at least two tasks, found 1"),
        (CODE[:0], [], "expected at least two tasks, found 0"),
        (CODE, TASKS[:-1], "expected 6 labels, one for each row of activations, found 5"),
        (CODE, np.zeros((6, 2)), "found an array of 2 dimensions"),
        (
            CODE,
            ["b", None, "a", float("nan"), "c", "c"],
            "expected a label for every example, found 2 missing",
        ),
        (
            bad(np.nan),
            TASKS,
            "expected finite activations, found 2 NaN or infinite, the first of them in unit 2",
        ),
        (bad(np.inf), TASKS, "found 2 NaN or infinite, the first of them in unit 2"),
        (CODE[:, 0], TASKS, r"expected shape \(examples, units\), found \(6,\)"),
        (CODE[None], TASKS, r"expected shape \(examples, units\), found \(1, 6, 7\)"),
    ],
)
def test_errors_name_the_place_and_the_finding(activations, tasks, message):
    with pytest.raises(DataError, match=f"task_tuning, .*{message}"):
        task_tuning(activations, tasks)


def layers(sizes, n_checkpoints=3, n_tasks=4, n=6, seed=0):
    rng = np.random.default_rng(seed)
    coords = {
        "checkpoint": ["init", *(f"phase{k}" for k in range(1, n_checkpoints))],
        "step": ("checkpoint", np.arange(n_checkpoints) * 3),
        "eval_task": [f"task{t}" for t in range(n_tasks)],
    }
    return {
        name: xr.DataArray(
            np.maximum(rng.normal(size=(n_checkpoints, n_tasks, n, size)) - 1.2, 0).astype(np.float32),
            dims=("checkpoint", "eval_task", "probe", "unit"),
            coords=coords,
        )
        for name, size in sizes.items()
    }


def test_unit_tuning_is_task_tuning_of_every_layer_and_checkpoint():
    facts = layers({"hidden1": 5, "hidden2": 8})
    facts["hidden2"] = facts["hidden2"].transpose("unit", ...)
    result = unit_tuning(facts)
    assert result.sizes == {"checkpoint": 3, "unit": 13, "eval_task": 4}
    assert list(result.layer.values) == ["hidden1"] * 5 + ["hidden2"] * 8
    assert list(result.unit.values) == list(range(13))
    assert list(result.step.values) == [0, 3, 6]
    # whoever wants one row a unit in a table drops the means, and no other variable repeats it
    assert {name for name, values in result.items() if values.dims != ("checkpoint", "unit")} == {
        "mean_activation"
    }
    for k in range(3):
        for name, layer in facts.items():
            flat = layer[{"checkpoint": k}] if name == "hidden1" else layer.isel(checkpoint=k)
            flat = flat.transpose("eval_task", "probe", "unit").values
            alone = task_tuning(flat.reshape(-1, flat.shape[-1]), np.repeat(layer.eval_task.values, 6))
            got = result.isel(checkpoint=k, unit=result.layer.values == name)
            variances = task_variance(facts).isel(checkpoint=k, unit=result.layer.values == name)
            assert set(got.data_vars) | set(variances.data_vars) == set(alone.data_vars)
            for variable, values in [*got.data_vars.items(), *variances.data_vars.items()]:
                assert values.dims == alone[variable].dims
                np.testing.assert_array_equal(values, alone[variable], err_msg=variable)


def last_checkpoint(units_by_task_and_probe):
    """Facts of one layer: an untrained network of no selectivity, then these (eval_task, probe, unit)."""
    end = np.array(units_by_task_and_probe, dtype=float)
    labels = {"checkpoint": ["init", "end"], "eval_task": list("abcdef"[: len(end)])}
    dims = ("checkpoint", "eval_task", "probe", "unit")
    return {"hidden": xr.DataArray([np.full(end.shape, 9.0), end], dims=dims, coords=labels)}


def numbers(measure, facts, **options):
    entry = registry.get("measure", measure)
    return scalars(measure, entry(facts, **options), entry.traits["scalar"])


def test_its_numbers_are_means_of_live_units_and_fractions_of_all_at_the_end():
    # task-only; mixed, 3 against 1; dead; dead with a negative side that tells the task
    facts = last_checkpoint([[[1, 3, 0, -1]] * 8, [[0, 1, 0, -2]] * 8])
    result = unit_tuning(facts)
    found = numbers("unit_tuning", facts)
    null = result.selectivity_null.values[1]
    assert found == {
        "unit_tuning.selectivity": pytest.approx((1.0 + 0.5) / 2),
        "unit_tuning.task_only": 0.25,
        "unit_tuning.mixed": 0.25,
        "unit_tuning.dead": 0.5,
        "unit_tuning.mutual_information": pytest.approx(1.0),
        "unit_tuning.lifetime_sparseness": pytest.approx((1 - 0.5 + 1 - 4 / 5) / 2 / (1 - 1 / 16)),
        "unit_tuning.selectivity_corrected": pytest.approx((1.0 - null[0] + 0.5 - null[1]) / 2),
        "unit_tuning.tuned": 0.5,
    }
    assert (null[:2] > 0.05).all()
    untested = numbers("unit_tuning", facts, null=0)
    assert set(found) - set(untested) == {"unit_tuning.selectivity_corrected", "unit_tuning.tuned"}


def test_units_are_called_tuned_among_those_of_their_layer_and_checkpoint():
    rng = np.random.default_rng(0)
    clear = last_checkpoint([rng.random((12, 3)) + 2, rng.random((12, 3)), rng.random((12, 3))])["hidden"]
    # one unit at the border of p = 0.05 is called beside clear ones and not beside many of no tuning
    facts = {"clear": clear, "none": clear.isel(unit=[0] * 60).copy(data=rng.random((2, 3, 12, 60)))}
    border = rng.random((2, 3, 12, 1)) + np.array([0.28, 0, 0])[:, None, None]
    facts = {
        name: xr.concat([layer, layer[..., :1].copy(data=border)], "unit") for name, layer in facts.items()
    }
    result = unit_tuning(facts).isel(checkpoint=1)
    assert result.p[3] == result.p[-1]
    assert 0.005 < result.p[3] < 0.05
    assert result.tuned[:4].all()
    assert not result.tuned[4:].any()


def test_the_number_of_task_variance_is_that_of_different_tasks():
    # the unit varies in a with 4 times the variance as in b, and in c not at all
    facts = last_checkpoint([[[4], [2]], [[1], [2]], [[3], [3]]])
    pairs = [0.6, 1, 1]
    assert numbers("task_variance", facts) == {
        "task_variance.fractional_task_variance": pytest.approx(np.mean(pairs))
    }
    for name, measure in (("task_variance", task_variance), ("unit_tuning", unit_tuning)):
        assert registry.get("measure", name).function is measure


def test_unit_tuning_refuses_what_it_cannot_use():
    with pytest.raises(DataError, match="at least one layer, found none"):
        unit_tuning({})
    with pytest.raises(DataError, match="at least two tasks, found 1"):
        unit_tuning(layers({"hidden": 2}, n_tasks=1))
    facts = layers({"first": 3, "second": 3})
    facts["second"][1, 2, 3, 1] = np.nan
    with pytest.raises(DataError, match=r"activations of layer 'second': .* found 1 NaN .* unit 1"):
        unit_tuning(facts)


def test_it_is_fast_enough_for_a_folder_of_runs():
    facts = layers({"hidden1": 256, "hidden2": 256}, n_checkpoints=6, n_tasks=5, n=32)

    def fastest(**options):
        """The best of five, so that a busy machine does not decide."""
        times = []
        for _ in range(5):
            start = time.perf_counter()
            unit_tuning(facts, **options)
            times.append(time.perf_counter() - start)
        return min(times)

    # the targets are 50 ms a call, and 0.2 s with the null; four times that and more leaves room
    assert fastest(null=0) < 0.2
    assert fastest() < 1.5
