"""The one house style: colour-blind safe, readable at column width, fonts embedded."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLUMN = 3.5  # inches: one column of a paper; two columns are 7.2
PAGE = 7.2
UNTRAINED = "#999999"  # the colour of what was not trained
CHANCE = "#222222"  # and of what chance would give
LETTERS = 20  # of a vertical axis' label in one line: more would not fit a panel's height
# of lines that are no data
GUIDE: dict[str, Any] = {"color": "0.75", "linewidth": 0.8, "linestyle": ":", "zorder": 0}

_RC = {
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "text.parse_math": False,  # a dollar in somebody's label begins no formula
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Figures made inside look like clntk's; the user's own settings come back afterwards."""
    settings: dict[Any, Any] = {**sns.axes_style("ticks"), **_RC}  # to matplotlib's stubs a key is no string
    with mpl.rc_context(settings):
        yield


def palette(conditions: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """One colour a condition, the same in every figure of a set of runs."""
    colours = sns.color_palette("colorblind", n_colors=max(len(conditions), 1))
    if len(conditions) > 10:
        colours = sns.color_palette("viridis", n_colors=len(conditions))
    return dict(zip(conditions, colours, strict=False))


def panels(
    n: int,
    *,
    columns: int = 3,
    width: float = PAGE,
    height: float = 2.4,
    figure: FigureBase | None = None,
) -> tuple[FigureBase, list[plt.Axes]]:
    """``n`` panels in rows of at most ``columns``, in a new figure or in one that is there."""
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    size = (width * columns / 3 if n < 3 else width, height * rows)
    figure = figure or plt.figure(figsize=size)
    flat = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in flat[n:]:
        axis.set_axis_off()
    return figure, flat[:n]


def abreast(n: int) -> int:
    """How many of ``n`` panels stand beside each other, three at most: four are two by two."""
    return 2 if n == 4 else min(n, 3)


def grid(draws: Sequence[Callable[[plt.Axes], object]], *, figure: FigureBase | None = None) -> FigureBase:
    """A panel for each function that draws one, two or three abreast."""
    figure, axes = panels(len(draws), columns=abreast(len(draws)), figure=figure)
    for axis, draw in zip(axes, draws, strict=True):
        draw(axis)
    return figure


def stacked(rows: Sequence[tuple[float, Callable[..., object]]], *, width: float = PAGE) -> plt.Figure:
    """Rows below each other, each as its height in inches and a function of ``figure`` that draws it."""
    heights = [height for height, _ in rows]
    figure = plt.figure(figsize=(width, sum(heights)))
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)
    for part, (_, draw) in zip(parts.flat, rows, strict=True):
        draw(figure=part)
    return figure


def legend(
    figure: FigureBase,
    conditions: Sequence[str],
    *,
    markers: Mapping[str, str] | None = None,
    **others: Line2D,
) -> None:
    """The conditions' colours once for all panels, above them.

    Args:
        figure: with a constrained layout.
        conditions: in order.
        markers: condition → marker, of points without a line; by default lines with dots.
        others: further entries: what a marker or a dashed line means.
    """
    colours = palette(conditions)
    looks: list[dict[str, Any]] = [
        {"marker": markers[name], "markersize": 5.5, "linestyle": ""}
        if markers
        else {"marker": "o", "markersize": 3.5}
        for name in conditions
    ]
    entries = {
        name: Line2D([], [], color=colours[name], **look)
        for name, look in zip(conditions, looks, strict=True)
    }
    entries |= {name.replace("_", " "): handle for name, handle in others.items()}
    longest = max(map(len, entries))
    columns = max(1, min(len(entries), int(90 / (longest + 8))))
    figure.legend(
        entries.values(), entries.keys(), loc="outside upper center", ncols=columns, columnspacing=1.2
    )


def dashed() -> Line2D:
    """The legend's handle of a reference, such as chance."""
    return Line2D([], [], color=CHANCE, linewidth=1, linestyle="--")


def wrapped(label: object, width: int = 26) -> str:
    """A label in lines of at most ``width`` characters, its underscores as spaces where it would be cut."""
    text = str(label)
    return fill(text.replace("_", " "), width, break_long_words=False) if len(text) > width else text


def shortened(names: Sequence[str]) -> list[str]:
    """Dotted names without the leading parts that all share."""
    parts = [str(name).split(".") for name in names]
    while parts and len({part[0] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[1:] for part in parts]
    return [".".join(part) for part in parts]


def logarithmic(axis: plt.Axes, which: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis; with plain numbers where it spans less than a decade."""
    axis.set(**{f"{which}scale": "log"})
    scale = getattr(axis, f"{which}axis")
    low, high = scale.get_view_interval()
    scale.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    scale.set_minor_formatter(NullFormatter())
    if high < 10 * low:
        for ticks in (scale.set_major_formatter, scale.set_minor_formatter):
            ticks(FuncFormatter(lambda value, _: f"{value:g}"))
        scale.set_minor_locator(LogLocator(subs="all", numticks=6))


def power_of_ten(value: float) -> str:
    """10⁻³ for .001, as plain text; other numbers as they are."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if value <= 0 or not math.isclose(value, 10.0**exponent) or exponent in (0, 1):
        return f"{value:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
