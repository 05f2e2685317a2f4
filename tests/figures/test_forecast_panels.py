"""Forecasts beside what happened: every point is drawn, where it is or as an arrow at the edge."""

import numpy as np
import pandas as pd
import pytest

from clntk.figures.forecast import TITLES, forecast_panels
from clntk.figures.style import house_style, palette


@pytest.fixture
def table():
    rows = [
        ("rich", 0, "a", "init", np.nan, np.nan, 0.5),
        ("rich", 0, "b", "init", 0.5, 0.4, 0.6),
        ("rich", 0, "b", "task start", 40.0, 0.4, 3.0),
        ("rich", 1, "b", "task start", -9.0, 0.3, 2.0),
        ("lazy", 0, "b", "init", 0.2, 0.2, 1e-3),
        ("lazy", 0, "b", "task start", np.nan, 0.2, np.nan),
        ("lazy", 1, "b", "task start", 0.1, 0.2, 1e-2),
    ]
    columns = [
        "condition",
        "seed",
        "checkpoint",
        "kernel",
        "predicted_forgetting",
        "actual_forgetting",
        "departure",
    ]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def figure(table):
    with house_style():
        return forecast_panels(table, conditions=["rich", "lazy"], notes=dict.fromkeys(TITLES, "R² of it"))


def _points(axis):
    """Colour → positions of what is drawn."""
    return {
        tuple(part.get_facecolor()[0][:3]): np.asarray(part.get_offsets())
        for part in axis.collections
        if len(part.get_offsets())
    }


def test_points_are_where_the_table_has_them(figure):
    init = _points(figure.axes[0])
    colours = palette(["rich", "lazy"])
    np.testing.assert_allclose(init[colours["rich"]], [[0.5, 0.4]])
    np.testing.assert_allclose(init[colours["lazy"]], [[0.2, 0.2]])


def test_predictions_that_are_far_off_are_arrows_at_the_edge(figure):
    axis = figure.axes[1]
    found = [part for part in axis.collections if len(part.get_offsets())]
    where = sorted(float(x) for part in found for x in part.get_offsets()[:, 0])
    left, right = axis.get_xlim()
    assert where == pytest.approx([left, 0.1, right])
    assert [part.get_clip_on() for part in found] == [False, False, True]
    assert left < 0 < 0.5 < right < 1


def test_kernels_share_axes_and_are_told_apart(figure):
    upper, lower = figure.axes[:2], figure.axes[2:4]
    assert [axis.get_title(loc="left") for axis in upper] == list(TITLES.values())
    for pair in (upper, lower):
        assert pair[0].get_ylim() == pair[1].get_ylim()
        assert pair[0].get_xlim() == pair[1].get_xlim()
    assert all(axis.texts[0].get_text() == "R² of it" for axis in upper)
    assert all(axis.get_yscale() == "log" for axis in lower)
    figure.canvas.draw()
