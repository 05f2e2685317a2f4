"""Are the published results that a protocol is held against reproduced?"""

from typing import Any

from clntk.errors import NotApplicable
from clntk.figures.answer import Answer
from clntk.figures.bounds import rows_in_bounds
from clntk.figures.style import house_style
from clntk.protocol import load
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import bounded, number
from clntk.stats.replication import REPRODUCED, count, replicated, told_verdict, tolerance


@register("analysis", place=20)
def replication(runs: RunSet, *, protocol: str | None = None) -> Answer:
    """Published results beside what these runs give: mean ± sd over seeds, interval, tolerance and verdict.

    Args:
        protocol: name or path of the protocol whose list of published results counts; by default that which the
            latest run was made with.

    Raises:
        NotApplicable: if the protocol is not held against published results.
    """
    claims = runs.published if protocol is None else load(protocol).model_dump()["published"]
    if not claims:
        raise NotApplicable(
            f"replication: {runs.protocols[0]} names no published results; list them in the protocol under "
            "'published' (clntk schema says how)"
        )
    table = replicated(runs, claims)
    with house_style():
        figure = rows_in_bounds(table, good=REPRODUCED)
    reference = next(iter(runs)).spec.reference
    about = f" ({reference})" if reference else ""
    return Answer(
        title="Are the published results reproduced?",
        figure=figure,
        table=table,
        text="\n".join([f"{count(table)}{about}.", *(_sentence(row) for _, row in table.iterrows())]),
        caption=(
            "One row a published result, on its own scale: the mean over seeds with its 95 % bootstrap interval; the "
            "band is where the mean counts as reproduced (filled, else hollow), as the protocol set it beforehand; "
            "unsettled where the interval reaches across a bound of it."
        ),
    )


def _sentence(row: Any) -> str:
    spread = f" ± {number(row['sd'])}" if row["n"] > 1 else ""
    return (
        f"{row['claim']}: {told_verdict(row)}. Published {row['published']}; measured "
        f"{bounded(row['mean'], row['low'], row['high'])}{spread} (n = {row['n']}); "
        f"tolerance: {tolerance(row['least'], row['most'])}."
    )
