"""An analysis as a part of a page."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clntk import registry
from clntk.analyze import analyze
from clntk.errors import DataError, NotApplicable, StoreError
from clntk.figures.answer import Answer
from clntk.text_files import csv_text

if TYPE_CHECKING:
    import pandas as pd

    from clntk.runs.runset import RunSet

_PIXELS_AN_INCH = 130  # at which a figure's 9-point type is as large as the page's


@dataclass(frozen=True)
class Section:
    """One analysis on the page: its answer with the figure as a data URI, or why there is none."""

    name: str
    title: str
    text: str
    caption: str = ""
    image: str = ""
    width: int = 0  # of the image on the page, in CSS pixels
    data: str = ""  # the numbers that the figure draws: CSV as a data URI


def section_of(name: str, runs: "RunSet") -> Section | None:
    """The analysis's part of the page; none of an analysis that is for other runs."""
    entry = registry.get("analysis", name)
    try:
        answer = analyze(name, runs)
    except NotApplicable:
        return None
    except (
        StoreError,
        DataError,
    ) as error:  # a fact that these runs did not record, a setting that they do not have
        return Section(name, entry.summary, f"Not available: {error}")
    return of_answer(name, answer)


def of_answer(name: str, answer: Answer) -> Section:
    """An answer's part of a page; its figure is closed."""
    import matplotlib.pyplot as plt

    image = answer.data_uri(dpi=200)
    plt.close(answer.figure)
    width = round(answer.figure.get_figwidth() * _PIXELS_AN_INCH)
    return Section(name, answer.title, answer.text, answer.caption, image, width, csv_uri(answer.table))


def csv_uri(table: "pd.DataFrame") -> str:
    """A table as a link to CSV."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(csv_text(table).encode()).decode()
