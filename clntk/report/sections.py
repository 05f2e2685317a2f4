"""An analysis as a part of a page."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clntk import registry
from clntk.analyze import analyze
from clntk.errors import DataError, NotApplicable, StoreError
from clntk.figures.answer import Answer
from clntk.report.explore import roles
from clntk.runs.runset import RunSet
from clntk.text_files import csv_text

if TYPE_CHECKING:
    import pandas as pd

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
    table: "pd.DataFrame | None" = None  # the numbers that the figure draws
    roles: dict[str, Any] | None = None  # what can be chosen of these numbers: see clntk.report.explore
    measures: tuple["Source", ...] = ()  # that were asked

    @property
    def data(self) -> str:
        """The table as a link to CSV."""
        return "" if self.table is None else csv_uri(self.table)


@dataclass(frozen=True)
class Source:
    """A measure, what it is in one sentence, and who it comes from."""

    name: str
    summary: str
    reference: str


def analyses(*, networks: bool = True) -> list[str]:
    """All registered analyses, those that say where they belong first.

    Args:
        networks: whether those that rebuild the runs' networks are among them.
    """
    last = len(names := registry.names("analysis"))
    traits = {name: registry.get("analysis", name).traits for name in names}
    chosen = [name for name in names if networks or not traits[name].get("networks")]
    return sorted(chosen, key=lambda name: traits[name].get("place", last))


def section_of(name: str, runs: RunSet) -> Section | None:
    """The analysis's part of the page; none of an analysis that is for other runs."""
    entry = registry.get("analysis", name)
    asked = RunSet(runs, others=runs.others, root=runs.root)  # that notes what this analysis asks
    asked.watch = runs.watch
    try:
        answer = analyze(name, asked)
    except NotApplicable:
        return None
    except (
        StoreError,
        DataError,
    ) as error:  # a fact that these runs did not record, a setting that they do not have
        return Section(name, entry.summary, f"Not available: {error}")
    return of_answer(name, answer, asked)


def sources(measures: Iterable[str]) -> tuple[Source, ...]:
    """What measures are, and who they come from."""
    entries = [registry.get("measure", name) for name in dict.fromkeys(measures)]
    return tuple(Source(entry.name.replace("_", " "), entry.summary, entry.reference) for entry in entries)


def of_answer(name: str, answer: Answer, runs: RunSet) -> Section:
    """An answer's part of a page, with what was asked of the runs for it; its figure is closed."""
    import matplotlib.pyplot as plt

    image = answer.data_uri(dpi=200)
    plt.close(answer.figure)
    width = round(answer.figure.get_figwidth() * _PIXELS_AN_INCH)
    return Section(
        name,
        answer.title,
        answer.text,
        answer.caption,
        image,
        width,
        table=answer.table,
        roles=roles(answer.table, conditions=runs.conditions, axes=runs.axes),
        measures=sources(runs.asked),
    )


def csv_uri(table: "pd.DataFrame") -> str:
    """A table as a link to CSV."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(csv_text(table).encode()).decode()
