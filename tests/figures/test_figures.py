"""Figures draw what the tables say, and come out as files."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clntk.figures.answer import Answer
from clntk.figures.matrices import matrix_row
from clntk.figures.style import house_style, palette, panels
from clntk.figures.trajectories import trajectory
from clntk.figures.units import INITIAL, class_bars, selectivity_strip


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def table_of(values: dict[tuple[str, int], list[float]], checkpoints=("init", "a", "b")) -> pd.DataFrame:
    rows = [
        {"condition": condition, "seed": seed, "checkpoint": checkpoint, "value": value}
        for (condition, seed), series in values.items()
        for checkpoint, value in zip(checkpoints, series, strict=True)
    ]
    return pd.DataFrame(rows)


def test_a_trajectory_draws_every_seed_and_their_mean():
    table = table_of({("rich", 0): [0.0, 1.0, 2.0], ("rich", 1): [0.0, 3.0, 4.0]})
    _figure, (axis,) = panels(1)
    trajectory(axis, table, "value", conditions=["rich"], label="drift")
    *seeds, mean = (line.get_ydata() for line in axis.get_lines())
    np.testing.assert_allclose(sorted(seeds, key=lambda y: y[1]), [[0, 1, 2], [0, 3, 4]])
    np.testing.assert_allclose(mean, [0, 2, 3])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["init", "a", "b"]


def test_a_logarithmic_trajectory_leaves_out_the_initialisation_where_drift_is_zero():
    table = table_of({("rich", 0): [0.0, 1e-3, 1e-2]})
    _, (axis,) = panels(1)
    trajectory(axis, table, "value", conditions=["rich"], label="drift", log=True)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert axis.get_yscale() == "log"


def test_conditions_keep_their_colours_across_figures():
    assert palette(["rich", "lazy"])["rich"] == palette(["rich", "lazy", "wide"])["rich"]
    many = palette([str(i) for i in range(30)])
    assert len(set(many.values())) == 30


def test_matrices_are_annotated_on_one_scale():
    matrix = pd.DataFrame([[0.9, 0.1], [0.4, 0.8]], index=["t0", "t1"], columns=["t0", "t1"])
    with house_style():
        figure = matrix_row({"rich": matrix, "lazy": matrix / 2}, label="Accuracy", row_label="After")
    titled = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert [axis.get_title(loc="left") for axis in titled] == ["rich", "lazy"]
    assert [text.get_text() for text in titled[1].texts] == ["0.45", "0.05", "0.20", "0.40"]
    assert {axis.collections[0].get_clim() for axis in titled} == {(0.0, 1.0)}


def test_unit_panels_show_the_untrained_control_and_fractions_that_fill_the_bar():
    generator = np.random.default_rng(0)
    units = pd.DataFrame(
        {
            "condition": np.repeat([INITIAL, "rich", "lazy"], 20),
            "layer": "hidden1",
            "selectivity": np.append(generator.random(59), np.nan),
        }
    )
    fractions = pd.DataFrame(
        {"task_only": [0.2, 0.0], "mixed": [0.7, 0.5], "dead": [0.1, 0.5]}, index=["rich", "lazy"]
    )
    with house_style():
        _, (left, right) = plt.subplots(1, 2)
        selectivity_strip(left, units, conditions=["rich", "lazy"])
        class_bars(right, fractions, conditions=["rich", "lazy"])
    assert [text.get_text() for text in left.get_legend().get_texts()] == [INITIAL, "rich", "lazy"]
    ends = sorted(patch.get_x() + patch.get_width() for patch in right.patches)
    assert ends[-2:] == pytest.approx([1.0, 1.0])


def test_an_answer_is_saved_as_figure_table_and_text(tmp_path):
    figure, _ = panels(1)
    table = pd.DataFrame({"seed": [0, 1], "value": [0.5, 0.25]})
    paths = Answer("Why?", figure, table, "Because.", "Read it so.").save(tmp_path / "new", "why")
    assert [path.suffix for path in paths] == [".pdf", ".png", ".csv", ".txt"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[2]), table)
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert paths[3].read_text().splitlines() == ["Why?", "", "Because.", "", "Read it so."]


def test_the_house_style_gives_the_users_settings_back():
    before = plt.rcParams["font.size"]
    with house_style():
        assert plt.rcParams["pdf.fonttype"] == 42
    assert plt.rcParams["font.size"] == before
