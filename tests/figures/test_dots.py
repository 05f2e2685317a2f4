"""Categories and points: what is drawn is what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clntk.figures.clouds import against_identity, markers_of, phase_diagram, points_of_runs
from clntk.figures.dots import dots
from clntk.figures.seeds import by_seed, over_seeds
from clntk.figures.style import house_style, panels
from clntk.stats.intervals import bootstrap_interval


@pytest.fixture
def table():
    """Two layers of two seeds, with two tasks each; the second seed has a layer of its own less."""
    rows = [
        ("rich", 0, "low", 1.0, 0.5),
        ("rich", 0, "low", 3.0, 0.5),
        ("rich", 1, "low", 6.0, 0.7),
        ("rich", 1, "low", np.nan, 0.7),
        ("rich", 0, "high", -1.0, 0.0),
        ("lazy", 0, "low", 0.0, 0.1),
    ]
    return pd.DataFrame(rows, columns=["condition", "seed", "layer", "value", "chance"])


def test_seeds_are_averaged_first_and_values_that_are_not_known_left_out(table):
    assert by_seed(table, "value", ["condition", "layer"]).to_dict() == {
        ("rich", "low", 0): 2.0,
        ("rich", "low", 1): 6.0,
        ("rich", "high", 0): -1.0,
        ("lazy", "low", 0): 0.0,
    }


def test_means_over_seeds_have_bootstrap_intervals_where_there_are_two_seeds(table):
    found = over_seeds(table, "value", ["layer", "condition"])
    assert list(found.index) == [("low", "rich"), ("high", "rich"), ("low", "lazy")]
    assert found["estimate"].tolist() == [4.0, -1.0, 0.0]
    assert tuple(found[["low", "high"]].iloc[0]) == bootstrap_interval([2.0, 6.0])
    assert found[["low", "high"]].iloc[1:].isna().all(axis=None)
    assert over_seeds(table[:0], "value", ["layer"]).empty


def test_dots_are_means_with_their_seeds_intervals_and_references(table):
    _, (axis,) = panels(1)
    dots(axis, table, "value", by="layer", conditions=["rich", "lazy"], label="v", reference="chance")
    points = {line.get_markersize(): [] for line in axis.get_lines() if line.get_marker() == "o"}
    for line in axis.get_lines():
        if line.get_marker() == "o":
            points[line.get_markersize()].append(np.ravel(line.get_ydata()).tolist())
    assert points == {2.2: [[2.0, 6.0], [-1.0], [0.0]], 4.5: [[4.0], [-1.0], [0.0]]}
    segments = [segment for lines in axis.collections for segment in lines.get_segments()]
    upright = [s[:, 1].tolist() for s in segments if s[0, 0] == s[1, 0]]
    dashes = [s[0, 1] for s in segments if s[0, 0] != s[1, 0]]
    assert upright == [list(bootstrap_interval([2.0, 6.0]))]
    assert dashes == pytest.approx([0.6, 0.0, 0.1])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["low", "high"]


def test_conditions_stand_side_by_side_and_long_labels_are_turned(table):
    _, (axis,) = panels(1)
    named = table.assign(layer="net." + table["layer"] + "_of_a_very_long_name")
    dots(axis, named, "value", by="layer", conditions=["rich", "lazy"], label="v")
    x = sorted(
        {float(np.ravel(line.get_xdata())[0]) for line in axis.get_lines() if line.get_marker() == "o"}
    )
    assert x == pytest.approx([-0.175, 0.175, 0.825])
    assert axis.get_xticklabels()[0].get_rotation() == 40
    assert axis.get_xticklabels()[0].get_text() == "low of a very long name"


def test_zeros_have_no_place_on_a_logarithmic_axis(table):
    _, (axis,) = panels(1)
    dots(axis, table, "value", by="layer", conditions=["rich", "lazy"], label="v", log=True)
    assert axis.get_yscale() == "log"
    assert all((np.ravel(line.get_ydata()) > 0).all() for line in axis.get_lines())


def test_predictions_have_a_panel_a_condition_with_the_line_where_they_are_right():
    points = pd.DataFrame({"condition": ["rich", "rich", "lazy"], "x": [1.0, 2.0, 3.0], "y": [1.5, 2.5, 3.5]})
    notes = {"rich": "R² = 1", "lazy": "R² = 0"}
    with house_style():
        figure = plt.figure()
        against_identity(figure, points, "x", "y", labels=("p", "a"), notes=notes)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["rich", "lazy"]
    assert [axis.texts[0].get_text() for axis in figure.axes] == ["R² = 1", "R² = 0"]
    assert sorted(map(tuple, figure.axes[0].collections[0].get_offsets())) == [(1.0, 1.5), (2.0, 2.5)]
    assert all(axis.get_lines()[0].get_slope() == 1 for axis in figure.axes)


def test_a_phase_diagram_has_a_point_a_run_but_for_those_that_did_not_move():
    points = pd.DataFrame({"condition": ["rich", "rich", "lazy"], "x": [1.0, 2.0, 0.0], "y": [0.1, 0.2, 0.3]})
    _, (axis,) = panels(1)
    markers = markers_of({"rich": "a", "lazy": "b"})
    phase_diagram(axis, points, "x", "y", conditions=["rich", "lazy"], labels=("l", "f"), markers=markers)
    rich, lazy = (cloud.get_offsets() for cloud in axis.collections)
    assert sorted(map(tuple, rich)) == [(1.0, 0.1), (2.0, 0.2)]
    assert not len(lazy)
    assert axis.get_xscale() == "log"


def test_conditions_of_a_group_share_a_marker():
    markers = markers_of({"rich, 1": "rich", "lazy, 1": "lazy", "rich, 2": "rich"})
    assert markers["rich, 1"] == markers["rich, 2"] != markers["lazy, 1"]


def test_runs_have_a_row_each_with_their_measures_beside_each_other():
    scalars = pd.DataFrame(
        {
            "run": ["b", "b", "a", "a"],
            "seed": [1, 1, 0, 0],
            "measure": ["m", "k"] * 2,
            "value": [1.0, 2.0, 3.0, np.nan],
        }
    )
    expected = pd.DataFrame({"run": ["b", "a"], "seed": [1, 0], "m": [1.0, 3.0], "k": [2.0, np.nan]})
    pd.testing.assert_frame_equal(points_of_runs(scalars), expected)
