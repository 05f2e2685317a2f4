"""Steps to an accuracy, on curves that are known."""

import numpy as np
import pytest
import xarray as xr

from clntk.measures.learning_speed import steps_to_accuracy


def losses(accuracy):
    steps = np.arange(1, len(accuracy) + 1)
    return xr.Dataset({"accuracy": ("step", np.asarray(accuracy))}, coords={"step": steps})


@pytest.mark.parametrize(
    ("curve", "wanted", "expected"),
    [
        ([0.5, 0.9, 1.0, 0.9, 1.0], 1.0, 3),
        ([0.5, 0.9, 1.0], 0.8, 2),
        ([1.0], 1.0, 1),
        ([0.2, 0.99], 1.0, np.nan),
    ],
)
def test_the_first_step_that_gets_there(curve, wanted, expected):
    np.testing.assert_equal(steps_to_accuracy(losses(curve), accuracy=wanted).item(), expected)


def test_rounding_of_single_precision_does_not_hide_it():
    assert steps_to_accuracy(losses(np.float32([0.5, 0.9999999])), accuracy=1.0).item() == 2
