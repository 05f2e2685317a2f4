"""How far outputs are from their closed form."""

import numpy as np
import pytest
import xarray as xr

from clntk.errors import DataError
from clntk.measures.closed_form import closed_form_departure

DIMS = ("checkpoint", "eval_task", "example", "output")


def fact(actual, predicted, without_twin=""):
    """Of two checkpoints after initialisation; predictions are equal for both kernels but for a factor of two."""
    actual, predicted = (np.array(v, float).reshape(3, 1, 2, 1) for v in (actual, predicted))
    return xr.Dataset(
        {
            "actual": (DIMS, actual),
            "predicted": (("kernel", *DIMS), np.stack([predicted, 2 * predicted])),
        },
        coords={"kernel": ["empirical", "infinite"], "checkpoint": ["init", "a", "b"], "eval_task": ["a"]},
        attrs={"without_twin": without_twin},
    )


def both(found):
    moved = xr.DataArray([1.0, 0.0], dims="example")
    return {"train": found, "probes": found.assign(actual=found.actual + moved)}


def test_by_hand():
    found = fact([[0, 0], [3, 4], [0, 8]], [[0, 0], [3, 1], [0, 8]])
    departure = closed_form_departure(both(found))
    assert departure.dims == ("checkpoint", "eval_task")
    np.testing.assert_allclose(departure[:, 0], [np.nan, 3 / 5, 0])
    infinite = closed_form_departure(both(found), kernel="infinite")
    np.testing.assert_allclose(infinite[:, 0], [np.nan, np.hypot(3, 2) / 5, 1])
    probes = closed_form_departure(both(found), on="probes")
    np.testing.assert_allclose(probes[1:, 0], [np.hypot(1, 3) / 5, 1 / 8])


def test_a_prediction_of_no_change_is_as_wrong_as_can_be_told():
    found = fact([[1, 1], [3, 4], [0, 8]], [[1, 1]] * 3)
    np.testing.assert_allclose(closed_form_departure(both(found))[1:, 0], 1)


def test_outputs_that_did_not_move_have_no_departure():
    found = fact([[0, 0], [0, 0], [0, 8]], [[0, 0], [1, 0], [0, 8]])
    np.testing.assert_array_equal(closed_form_departure(both(found))[:, 0], [np.nan, np.nan, 0])


def test_diverged_predictions_have_no_departure():
    found = fact([[0, 0], [3, 4], [0, 8]], [[0, 0], [3, 4], [np.nan, np.nan]])
    np.testing.assert_array_equal(closed_form_departure(both(found)).isnull()[:, 0], [True, False, True])


def test_without_a_twin_only_its_own_kernel_tells():
    found = both(fact([[0, 0], [3, 4], [0, 8]], [[0, 0], [3, 1], [0, 8]], "run: has no twin"))
    assert closed_form_departure(found)[1, 0] == pytest.approx(0.6)
    with pytest.raises(DataError, match=r"expected 'empirical', found 'infinite'\. run: has no twin"):
        closed_form_departure(found, kernel="infinite")
