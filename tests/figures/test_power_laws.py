"""Powers drawn beside those expected, and outputs beside closed forms."""

import numpy as np
import pandas as pd
import pytest

from clntk.figures.scaling import CLOSED, beside_closed_form, guides, power_law
from clntk.figures.style import panels

LOOKS = {"labels": ("Width", "Error"), "colour": "C0"}


def table(factors=(1.0, 4.0), widths=(10, 100, 1000), slope=-1.0):
    rows = [{"seed": s, "w": w, "value": f * w**slope} for s, f in enumerate(factors) for w in widths]
    return pd.DataFrame(rows)


def drawn(**options):
    _figure, (axis,) = panels(1)
    power_law(axis, options.pop("table", table()), "w", **LOOKS | options)
    return axis


def dashes(axis):
    return [line for line in axis.get_lines() if line.get_linestyle() == "--"]


def test_seeds_and_their_mean():
    lines = [line.get_xydata() for line in drawn().get_lines()]
    assert len(lines) == 3
    for line, factor in zip(lines, (1, 4, 2.5), strict=True):
        np.testing.assert_allclose(line, [[w, factor / w] for w in (10, 100, 1000)])


def test_the_guide_has_the_slope_expected_and_lies_above_the_range():
    (guide,) = dashes(drawn(slope=-0.5, between=(100, 1000)))
    x, y = guide.get_xydata().T
    assert x.tolist() == [100, 1000]
    assert np.log10(y[1] / y[0]) == pytest.approx(-0.5)
    middle = np.sqrt(y[0] * y[1]), 2.5 / np.sqrt(100 * 1000)
    assert middle[0] == pytest.approx(1.7 * middle[1])
    assert not dashes(drawn())
    assert not dashes(drawn(slope=-1, between=(2000, 3000)))


def test_axes_are_logarithmic_with_the_settings_as_ticks():
    axis = drawn(note="slope −1")
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in axis.get_xticklabels()] == ["10", "100", "1000"]
    assert axis.get_title() == "slope −1"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Width", "Error")


def test_what_is_not_positive_is_left_out():
    odd = pd.concat([table(), pd.DataFrame([{"seed": 0, "w": 50, "value": 0.0}])])
    assert all(50 not in line.get_xdata() for line in drawn(table=odd).get_lines())


def test_one_seed_has_no_band():
    assert not drawn(table=table((1.0,))).collections
    assert len(drawn().collections) == 1


def test_dots_are_the_network_and_lines_its_closed_forms():
    rows = [
        {"example": e, "step": s, "network": e + s, "empirical": e - s, "infinite": e * s}
        for e in (3, 5)
        for s in (1, 10)
    ]
    _figure, (axis,) = panels(1)
    beside_closed_form(axis, pd.DataFrame(rows), title="Width 4", label="f")
    lines = axis.get_lines()
    assert [line.get_linestyle() for line in lines] == ["None", *CLOSED.values()] * 2
    for line, expected in zip(lines, ([4, 13], [2, -7], [3, 30], [6, 15], [4, -5], [5, 50]), strict=True):
        assert line.get_ydata().tolist() == expected
    first, second = ({line.get_color() for line in lines[i : i + 3]} for i in (0, 3))
    assert len(first) == len(second) == 1
    assert first != second
    assert axis.get_xscale() == "log"


def test_guides_look_as_what_they_stand_for():
    handles = guides({"slope": "expected", "closed": ":"})
    assert [handle.get_linestyle() for handle in handles.values()] == ["--", ":"]
    assert list(handles) == ["slope", "closed"]
