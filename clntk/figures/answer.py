"""What an analysis hands back: a figure, the numbers in it, and a paragraph."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from clntk.figures.style import house_style
from clntk.text_files import csv_text


@dataclass(frozen=True)
class Answer:
    """The answer to one question asked of saved runs.

    Args:
        title: the question, as a heading.
        figure: the figure.
        table: the numbers that the figure draws.
        text: what they say, with the numbers in it.
        caption: how to read the figure.
    """

    title: str
    figure: plt.Figure
    table: pd.DataFrame
    text: str
    caption: str

    def _repr_html_(self) -> str:
        """The answer as a notebook shows it."""
        text = escape(self.text).replace("\n", "<br>")
        return (
            f'<h3>{escape(self.title)}</h3><img src="{self.data_uri(110)}" alt="{escape(self.title)}">'
            f"<p>{escape(self.caption)}</p><p>{text}</p>"
        )

    def data_uri(self, dpi: int) -> str:
        """The figure as a PNG within a link; it stays open."""
        buffer = BytesIO()
        with house_style():
            self.figure.savefig(buffer, format="png", dpi=dpi)
        return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write ``<name>.pdf``, ``.png``, ``.csv`` and ``.txt``; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv", "txt")]
        with house_style():
            self.figure.savefig(paths[0], metadata={"CreationDate": None})
            self.figure.savefig(paths[1])
        paths[2].write_text(csv_text(self.table), encoding="utf-8")
        paths[3].write_text(f"{self.title}\n\n{self.text}\n\n{self.caption}\n", encoding="utf-8")
        return paths
