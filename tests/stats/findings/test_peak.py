"""Peaks along a sweep, and gains beyond a threshold, on values that are known."""

import numpy as np
import pytest
import test_levels_and_slopes as shared
from test_levels_and_slopes import _measures, found  # noqa: F401

from clntk.errors import DataError
from clntk.stats.findings.peak import keys_at_peak

KEYS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


@pytest.mark.parametrize(
    ("values", "prominence", "expected"),
    [
        ([0, 1, 3, 1, 0], 0.0, 4.0),
        ([5, 1, 3, 1, 0], 0.0, 4.0),  # the end is no peak, however high
        ([0, 3, 1, 2, 0], 0.0, 2.0),  # the most prominent
        ([0, 3, 1, 2, 0], 3.5, np.nan),
        ([0, 1, 2, 3, 4], 0.0, np.nan),
        ([4, 3, 2, 1, 0], 0.0, np.nan),
        ([1, 1, 1, 1, 1], 0.0, np.nan),
    ],
)
def test_the_most_prominent_inner_peak(values, prominence, expected):
    np.testing.assert_equal(keys_at_peak(np.array(values, float), KEYS, prominence), expected)


def runs(rows):
    return [
        shared.run("rich", seed, value, model={"width": int(width)})
        for seed, values in enumerate(rows)
        for width, value in zip(KEYS, values, strict=True)
    ]


def test_peaks_and_troughs_of_a_measure():
    rows = runs([(0, 1, 3, 1, 0), (2, 0, 1, 2, 3)])
    options = {"measure": "known", "along": "model.width"}
    np.testing.assert_array_equal(found("peak", rows, **options), [4, np.nan])
    np.testing.assert_array_equal(found("peak", rows, lowest=True, **options), [np.nan, 2])


def test_the_gain_beyond_a_threshold():
    rows = runs([(0, 2, 1, 1, 5), (4, 2, 9, 1, 3)])
    options = {"measure": "known", "along": "model.width"}
    np.testing.assert_array_equal(found("gain_beyond", rows, threshold=4.0, **options), [3, -1])
    with pytest.raises(DataError, match="between 1 and 16, found 20"):
        found("gain_beyond", rows, threshold=20.0, **options)
