"""The rule that turns a result into numbers."""

import numpy as np
import pytest
import xarray as xr

from clntk.measures.summary import scalars


def array(values, *dims):
    return xr.DataArray(np.asarray(values), dims=dims)


def test_the_last_checkpoint_and_the_mean_over_the_rest():
    result = array([[1.0, 1.0], [2.0, 4.0]], "checkpoint", "eval_task")
    assert scalars("it", result) == {"it": 3.0}
    assert scalars("it", result.T) == {"it": 3.0}


def test_without_checkpoints_it_is_the_mean():
    assert scalars("it", array([1.0, 2.0, 6.0], "unit")) == {"it": 3.0}
    assert scalars("it", array(7)) == {"it": 7.0}


def test_nan_is_ignored_until_nothing_is_left():
    assert scalars("it", array([[5.0, 5.0], [np.nan, 4.0]], "checkpoint", "eval_task")) == {"it": 4.0}
    assert np.isnan(scalars("it", array([[5.0], [np.nan]], "checkpoint", "eval_task"))["it"])
    assert np.isnan(scalars("it", array(np.zeros((0, 2)), "checkpoint", "eval_task"))["it"])
    assert np.isnan(scalars("it", array(np.zeros((2, 0)), "checkpoint", "unit"))["it"])


def test_a_dataset_gives_a_number_a_variable_but_none_for_text():
    result = xr.Dataset(
        {
            "graded": ("unit", [0.5, np.nan, 1.0]),
            "flag": (("checkpoint", "unit"), [[True, True, True], [True, False, False]]),
            "count": ("unit", [1, 2, 6]),
            "label": ("unit", ["a", "b", ""]),
            "object": ("unit", np.array(["a", "b", ""], dtype=object)),
        }
    )
    numbers = scalars("it", result)
    assert numbers == {"it.graded": 0.75, "it.flag": pytest.approx(1 / 3), "it.count": 3.0}
    assert {type(number) for number in numbers.values()} == {float}


def test_the_measure_s_own_scalar_comes_first():
    result = array([[1.0, 1.0], [2.0, 4.0]], "checkpoint", "eval_task")
    assert scalars("it", result, lambda r: r.max("eval_task")) == {"it": 4.0}
    assert scalars("it", result, lambda r: r.mean("checkpoint")) == {"it": 2.0}
    assert scalars("it", result, lambda r: r.to_dataset(name="part")) == {"it.part": 3.0}


def test_a_mean_over_checkpoints_that_are_all_nan_is_nan_without_a_warning():
    result = array([np.nan, np.nan], "checkpoint")
    assert np.isnan(scalars("it", result, lambda r: r.mean("checkpoint"))["it"])
