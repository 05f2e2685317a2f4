"""CSV that a spreadsheet only shows."""

from io import StringIO

import pandas as pd
import pytest

from clntk.text_files import csv_text


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|x", "-2+3", "\t=1", "\r=1"])
def test_no_text_is_a_formula(text):
    assert f"'{text.strip()}" in csv_text(pd.DataFrame({"a": [text.strip()]})) or text[0] in "\t\r"
    assert not csv_text(pd.DataFrame({"a": [text]})).split("\n")[1].startswith(text)


def test_numbers_and_other_texts_stay_as_they_are():
    table = pd.DataFrame({"a": ["-.35", "+1e3", "x=1", "a, b"], "b": [-1.5, 2.0, 0.0, 1.0]})
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(csv_text(table)), dtype={"a": str}), table)
