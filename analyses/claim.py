"""Does the evidence support the founding claim: compressed codes with units of single tasks, which protect?"""

import pandas as pd

from clntk.axes import CONDITION
from clntk.figures.answer import Answer
from clntk.figures.style import house_style
from clntk.figures.verdict import criteria_panels
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.claim import CRITERIA, beside_the_laziest, judged, verdicts
from clntk.stats.phrases import bounded

CONTROLS = ("blocked naive training", "joint training", "interleaved naive training")


@register("analysis", place=9, networks=True)
def claim(runs: RunSet) -> Answer:
    """The verdict on the founding claim in each condition: supported, not supported or undecided, with the numbers."""
    evidence = beside_the_laziest(runs.measure("claim_evidence"), within=runs.axes)
    table = judged(evidence)
    found = verdicts(table)
    with house_style():
        figure = criteria_panels(table, found)
    return Answer(
        title="Is the founding claim supported?",
        figure=figure,
        table=table.assign(verdict=table[CONDITION].map(found)),
        text="\n".join(
            [
                *(_sentence(name, verdict, table) for name, verdict in found.items()),
                f"Laziest, with which others are compared: {', '.join(dict.fromkeys(evidence['control']))}.",
                _controls(runs),
            ]
        ),
        caption=(
            "The claim: networks learn compressed codes with units of single tasks, and this protects old tasks. "
            + " ".join(f"{c.name.capitalize()}: {c.asks}" for c in CRITERIA)
            + " Dots are means over seeds with 95 % t intervals; the shaded side is where a criterion is met (filled: "
            "met, cross: missed, hollow: open, dash: undefined). Supported where all are met, not supported where one "
            "is missed."
        ),
    )


def _sentence(condition: str, verdict: str, table: pd.DataFrame) -> str:
    rows = table[table[CONDITION] == condition]
    parts = [
        f"{row['criterion']} {row['finding']}, {bounded(row['estimate'], row['low'], row['high'])}"
        for _, row in rows.iterrows()
    ]
    return f"{condition} (n = {rows['n'].max()}): {verdict}. {'; '.join(parts)}."


def _controls(runs: RunSet) -> str:
    """Which of the controls are there: without them a verdict says nothing of continual learning."""
    present = {_control(run.spec.strategy["name"], run.spec.stream.get("schedule")) for run in runs}
    missing = [control for control in CONTROLS if control not in present]
    if not missing:
        return "Controls: all there (blocked, joint and interleaved training without protection)."
    return f"Controls missing from these runs: {', '.join(missing)}; without them read the verdict with care."


def _control(strategy: str, schedule: str | None) -> str:
    if strategy == "joint" or (strategy == "naive" and schedule == "joint"):
        return "joint training"
    return f"{schedule} {strategy} training"
