"""The kernel benchmark as a table to read and a figure: ours, the peers, and the limit."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from clntk.figures.style import house_style, palette

LINE = 10  # points between two labels
ORDER = ("clntk", "neural-tangents", "nngeometry", "torch.func")


def markdown(table: pd.DataFrame) -> str:
    """One row a case: our seconds, our time over the limit, and each peer's time over ours."""
    peers = [name for name in ORDER[1:] if name in set(table["by"])]
    lines = [
        "| kernel | clntk, seconds | over the limit | "
        + " | ".join(f"{name}, times ours" for name in peers)
        + " |"
    ]
    lines.append("|" + "---|" * (3 + len(peers)))
    for (case, mode), rows in table.groupby(["case", "mode"], sort=False):
        by = rows.set_index("by")
        limit = by.loc["clntk", "times the limit"]
        cells = [
            f"{case}, {mode}",
            f"{by.loc['clntk', 'seconds']:.3g}",
            "" if pd.isna(limit) else f"{limit:.1f}",
        ]
        cells += [f"{by.loc[name, 'times ours']:.3g}" if name in by.index else "" for name in peers]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(sizes: pd.DataFrame, path: Path) -> None:
    """
    Args:
        sizes: one row an engine and number of examples: ``by``, ``examples``, ``seconds``, ``times the limit``.
        path: where the figure goes.
    """
    names = [name for name in ORDER if name in set(sizes["by"])]
    with house_style():
        figure, axis = plt.subplots(figsize=(4.6, 3.2))
        colours = palette(names)
        sns.lineplot(
            sizes,
            x="examples",
            y="seconds",
            hue="by",
            hue_order=names,
            palette=colours,
            marker="o",
            ax=axis,
            legend=False,
        )
        ours = sizes[sizes["by"] == "clntk"]
        axis.plot(
            ours["examples"],
            ours["seconds"] / ours["times the limit"],
            color="0.35",
            linestyle="--",
            linewidth=1.2,
        )
        axis.set(xscale="log", yscale="log", xlabel="Examples", ylabel="Seconds")
        ends = {name: sizes[sizes["by"] == name].sort_values("examples").iloc[-1] for name in names}
        labels = [(name, end["examples"], end["seconds"], colours[name]) for name, end in ends.items()]
        last = ends["clntk"]
        labels.append(("limit", last["examples"], last["seconds"] / last["times the limit"], "0.35"))
        _label(axis, labels)
        ticks = sorted(set(sizes["examples"]))
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
        axis.set_title("Full tangent kernel of an MLP, 10 outputs")
        figure.savefig(path)
        plt.close(figure)


def _label(axis: plt.Axes, labels: list[tuple[str, float, float, object]]) -> None:
    """Names at the ends of lines, from the lowest up, each moved up as far as the one below it needs."""
    below: dict[float, float] = {}
    for text, x, y, colour in sorted(labels, key=lambda label: label[2]):
        points = axis.transData.transform((x, y))[1] * 72 / axis.figure.dpi
        up = max(0.0, below.get(x, float("-inf")) + LINE - points)
        below[x] = points + up
        axis.annotate(
            text, (x, y), xytext=(5, up), textcoords="offset points", va="center", color=colour, fontsize=8
        )
