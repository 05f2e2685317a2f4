"""The one house style: colour-blind safe, readable at column width, fonts embedded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns

COLUMN = 3.5  # inches: one column of a paper; two columns are 7.2
PAGE = 7.2

_RC = {
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # text stays text in the PDF
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
    with mpl.rc_context({**sns.axes_style("ticks"), **_RC}):
        yield


def palette(conditions: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """One colour a condition, the same in every figure of a set of runs."""
    colours = sns.color_palette("colorblind", n_colors=max(len(conditions), 1))
    if len(conditions) > 10:
        colours = sns.color_palette("viridis", n_colors=len(conditions))
    return dict(zip(conditions, colours, strict=False))


def panels(
    n: int, *, columns: int = 3, width: float = PAGE, height: float = 2.4
) -> tuple[plt.Figure, list[plt.Axes]]:
    """``n`` panels in rows of at most ``columns``."""
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns / 3 if n < 3 else width, height * rows), squeeze=False
    )
    flat = list(axes.flat)
    for axis in flat[n:]:
        axis.set_axis_off()
    return figure, flat[:n]
