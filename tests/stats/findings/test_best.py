"""At which value of a swept key a measure is best, on runs whose measures are known."""

import numpy as np
import pytest
from test_levels_and_slopes import _measures, found, run  # noqa: F401  (a fixture)

TABLE = {4: [1.0, 5.0], 8: [3.0, 2.0], 64: [2.0, 5.0]}


def runs(table=TABLE, regime="rich"):
    return [
        run(regime, seed, value, model={"width": width})
        for width, values in table.items()
        for seed, value in enumerate(values)
    ]


def test_the_highest_or_the_lowest_an_end_too_and_the_lower_of_two():
    how = {"measure": "known", "along": "model.width"}
    np.testing.assert_equal(found("best", runs(), **how), [8, 4])
    np.testing.assert_equal(found("best", runs(), lowest=True, **how), [4, 8])


def test_over_another_condition_seed_by_seed():
    other = runs({4: [9.0, 0.0], 8: [0.0, 0.0], 64: [0.0, 1.0]}, regime="lazy")
    conditions = {"where": {"regime": "rich"}, "over": {"regime": "lazy"}}
    both = found("best", [*runs(), *other], measure="known", along="model.width", **conditions)
    assert both.tolist() == pytest.approx([8 / 4, 4 / 64])


def test_a_seed_with_a_gap_has_none():
    gap = {4: [np.nan, 1.0], 8: [1.0, 2.0], 64: [0.0, 0.0]}
    np.testing.assert_equal(found("best", runs(gap), measure="known", along="model.width"), [np.nan, 8])
