"""Figures draw what the tables say, and come out as files."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clntk.figures.answer import Answer
from clntk.figures.matrices import _numbers, matrices_of, matrix_row
from clntk.figures.style import (
    abreast,
    dashed,
    grid,
    house_style,
    legend,
    logarithmic,
    palette,
    panels,
    power_of_ten,
    shortened,
    stacked,
    wrapped,
)
from clntk.figures.trajectories import trajectory
from clntk.figures.units import class_bars, rainclouds
from clntk.stats.intervals import bootstrap_interval


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
    *seeds, mean = (line.get_ydata() for line in axis.get_lines() if line.get_linestyle() == "-")
    np.testing.assert_allclose(sorted(seeds, key=lambda y: y[1]), [[0, 1, 2], [0, 3, 4]])
    np.testing.assert_allclose(mean, [0, 2, 3])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["init", "a", "b"]


def switches(axis: plt.Axes) -> list[float]:
    return [line.get_xdata()[0] for line in axis.get_lines() if line.get_linestyle() == ":"]


def test_a_trajectory_has_its_bootstrap_interval_as_a_band():
    table = table_of({("rich", seed): [0.0, value, 1.0] for seed, value in enumerate([1.0, 2.0, 4.0, 9.0])})
    _figure, (axis,) = panels(1)
    trajectory(axis, table, "value", conditions=["rich"], label="drift")
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices
    at_a = corners[corners[:, 0] == 1, 1]
    assert (at_a.min(), at_a.max()) == pytest.approx(bootstrap_interval([1.0, 2.0, 4.0, 9.0]))


def test_one_seed_has_no_band():
    _figure, (axis,) = panels(1)
    trajectory(axis, table_of({("rich", 0): [0.0, 1.0, 2.0]}), "value", conditions=["rich"], label="drift")
    assert not axis.collections


def test_task_switches_are_marked_where_another_task_begins():
    table = table_of({("rich", 0): [0.0, 1.0, 2.0, 3.0]}, checkpoints=("init", "a1", "a2", "b"))
    _figure, (each, known) = panels(2)
    trajectory(each, table, "value", conditions=["rich"], label="drift")
    trajectory(known, table.assign(task=["", "a", "a", "b"]), "value", conditions=["rich"], label="drift")
    assert switches(each) == [0, 1, 2]
    assert switches(known) == [0, 2]


def test_a_trajectory_draws_its_reference_dashed():
    table = table_of({("rich", 0): [1.0, 1.0, 2.0], ("rich", 1): [1.0, 1.0, 2.0]})
    _figure, (axis,) = panels(1)
    trajectory(
        axis,
        table.assign(chance=table["value"] / 4),
        "value",
        conditions=["rich"],
        label="a",
        reference="chance",
    )
    (dashed,) = [line for line in axis.get_lines() if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed.get_ydata(), [0.25, 0.25, 0.5])


def test_checkpoints_keep_their_order_where_a_seed_has_a_zero_on_a_logarithmic_axis():
    table = table_of({("rich", 0): [0.0, 0.0, 1e-2], ("rich", 1): [0.0, 1e-3, 1e-2]})
    _, (axis,) = panels(1)
    trajectory(axis, table, "value", conditions=["rich"], label="drift", log=True)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]


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


def test_matrices_about_zero_have_white_at_zero_and_what_they_are_compared_with_in_brackets():
    matrix = pd.DataFrame([[0.75, -0.5], [np.nan, 0.125]], index=["t0", "t1"], columns=["t0", "t1"])
    figure = matrix_row(
        {"rich": matrix},
        label="Damage",
        row_label="Of",
        vmax=None,
        about_zero=True,
        beside={"rich": matrix * 0},
    )
    axis = figure.axes[0]
    assert axis.collections[0].get_clim() == (-0.75, 0.75)
    assert [text.get_text() for text in axis.texts] == ["0.75\n(0.00)", "-0.50\n(0.00)", "0.12\n(0.00)"]


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (3, 1), (4, 2), (5, 2), (7, 3)])
def test_many_matrices_stand_in_rows(n, rows):
    matrices = {f"condition {k}": pd.DataFrame([[0.5]]) for k in range(n)}
    figure = matrix_row(matrices, label="Accuracy", row_label="After")
    (first, *_), bar = figure.axes[:-1], figure.axes[-1]
    assert first.get_gridspec().nrows == rows
    assert sum(axis.axison for axis in figure.axes if axis is not bar) == n


def test_large_numbers_have_fewer_decimals_so_that_they_fit():
    matrix = pd.DataFrame([[123.4, 12.34, 1.234, -0.001]])
    figure = matrix_row({"rich": matrix}, label="Loss", row_label="After", vmax=None)
    assert [text.get_text() for text in figure.axes[0].texts] == ["123", "12.3", "1.23", "0.00"]
    assert figure.axes[0].collections[0].get_clim() == (-0.001, 123.4)


def test_matrices_are_means_over_seeds_in_order_of_appearance_without_empty_ones():
    rows = [("rich", 0, "b", "y", 1.0), ("rich", 1, "b", "y", 3.0), ("rich", 0, "a", "x", 5.0)]
    table = pd.DataFrame(
        [*rows, ("joint", 0, "a", "x", np.nan)], columns=["condition", "seed", "row", "column", "value"]
    )
    (matrix,) = (found := matrices_of(table, "value", rows="row", columns="column")).values()
    assert list(found) == ["rich"]
    assert (list(matrix.index), list(matrix.columns)) == (["b", "a"], ["y", "x"])
    np.testing.assert_array_equal(matrix, [[2, np.nan], [np.nan, 5]])


def test_rainclouds_show_trained_units_beside_untrained_ones_of_the_same_condition():
    generator = np.random.default_rng(0)
    units = pd.DataFrame(
        {
            "condition": np.repeat(["rich", "lazy"], 40),
            "checkpoint": np.tile(np.repeat(["init", "b"], 20), 2),
            "layer": "hidden1",
            "selectivity": np.append(generator.random(79), np.nan),
        }
    )
    _, (axis,) = panels(1)
    rainclouds(axis, units, "selectivity", conditions=["rich", "lazy"], label="Selectivity")
    dots_shown = [line.get_ydata() for line in axis.get_lines() if line.get_marker() == "."]
    trained = units[units["checkpoint"] == "b"].groupby("condition", sort=False)["selectivity"]
    for shown, (_, values) in zip(dots_shown, trained, strict=True):
        np.testing.assert_allclose(sorted(shown), sorted(values.dropna()))
    medians = [c.get_segments()[0][0][1] for c in axis.collections if c.get_linewidth()[0] == 2.0]
    expected = units.groupby(["condition", "checkpoint"], sort=False)["selectivity"].median()
    np.testing.assert_allclose(medians, expected)


def test_rainclouds_stand_layers_that_are_empty_or_do_not_vary():
    units = pd.DataFrame(
        {
            "condition": "rich",
            "checkpoint": ["init", "b", "b"],
            "layer": ["x", "x", "y"],
            "value": [0.5, 0.5, np.nan],
        }
    )
    _, (axis,) = panels(1)
    rainclouds(axis, units, "value", conditions=["rich", "lazy"], label="v")
    assert [label.get_text() for label in axis.get_xticklabels()] == ["x"]


def test_class_bars_fill_the_width():
    fractions = pd.DataFrame(
        {"task_only": [0.2, 0.0], "mixed": [0.7, 0.5], "dead": [0.1, 0.5]}, index=["rich", "lazy"]
    )
    _, (axis,) = panels(1)
    class_bars(axis, fractions, conditions=["rich", "lazy"])
    ends = sorted(patch.get_x() + patch.get_width() for patch in axis.patches)
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


def test_four_panels_are_two_by_two_and_more_are_three_abreast():
    assert [abreast(n) for n in range(1, 7)] == [1, 2, 3, 2, 3, 3]


def test_a_grid_calls_every_drawing_with_a_panel_of_its_own():
    drawn = []
    figure = grid([drawn.append] * 5)
    assert len(set(map(id, drawn))) == 5
    assert [axis.axison for axis in figure.axes] == [True] * 5 + [False]


def test_rows_are_stacked_by_their_heights():
    figure = stacked(
        [(2.0, lambda figure: grid([lambda axis: axis.plot([1])], figure=figure)), (1.0, lambda figure: None)]
    )
    assert tuple(figure.get_size_inches()) == (7.2, 3.0)
    assert len(figure.axes) == 1


def test_the_legend_names_each_condition_once_in_its_colour():
    figure, _ = panels(2)
    legend(figure, ["rich", "lazy"], markers={"rich": "s", "lazy": "D"}, by_chance=dashed())
    (found,) = figure.legends
    assert [text.get_text() for text in found.get_texts()] == ["rich", "lazy", "by chance"]
    assert [handle.get_color() for handle in found.legend_handles[:2]] == list(
        palette(["rich", "lazy"]).values()
    )
    assert [handle.get_marker() for handle in found.legend_handles[:2]] == ["s", "D"]


# --- labels and scales ------------------------------------------------------------------------------------


def test_names_lose_what_all_share():
    assert shortened(["net.a.w", "net.b.w"]) == ["a.w", "b.w"]
    assert shortened(["a", "b.c"]) == ["a", "b.c"]
    assert shortened(["net.a"]) == ["a"]
    assert shortened([]) == []


def test_long_words_are_not_broken():
    assert wrapped("rich, schedule=interleaved now", 12) == "rich,\nschedule=interleaved\nnow"


@pytest.mark.parametrize(("values", "plain"), [([0.6, 0.9], True), ([0.01, 10.0], False)])
def test_a_logarithmic_axis_of_less_than_a_decade_has_plain_numbers(values, plain):
    figure, (axis,) = panels(1)
    axis.plot(values)
    logarithmic(axis)
    figure.canvas.draw()
    texts = [
        t.get_text() for t in (*axis.get_yticklabels(), *axis.get_yticklabels(minor=True)) if t.get_text()
    ]
    assert texts
    assert any("10⁻" in text for text in texts) != plain


def test_small_numbers_have_three_decimals():
    assert _numbers(pd.DataFrame([[0.0123, -0.05]]), None).tolist() == [["0.012", "-0.050"]]
    assert _numbers(pd.DataFrame([[0.0123, -0.5]]), None).tolist() == [["0.01", "-0.50"]]


def test_dollars_in_labels_are_no_formulas(tmp_path):
    with house_style():
        figure, (axis,) = panels(1)
        axis.set_title(r"$\frac{1$")
        axis.set_xlabel("a $ or two $")
        figure.savefig(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-3, "10⁻³"), (1e12, "10¹²"), (1.0, "1"), (10.0, "10"), (0.0, "0"), (200.0, "200"), (1e-40, "10⁻⁴⁰")],
)
def test_powers_of_ten_are_plain_text(value, text):
    assert power_of_ten(value) == text


def test_conditions_of_the_verdict_are_told_by_their_words_and_keyed_numbers():
    from clntk.figures.verdict import _told

    condition = "rich, model.width=64, stream=permuted_images, strategy.lr=0.1, schedule=blocked"
    assert _told(condition) == "rich, model.width=64, permuted_images, strategy.lr=0.1, blocked"
