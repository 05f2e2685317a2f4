"""Ask a registered question of saved runs."""

from typing import TYPE_CHECKING, Any

from clntk import registry

if TYPE_CHECKING:
    from clntk.figures.answer import Answer
    from clntk.runs.runset import RunSet


def analyze(name: str, runs: "RunSet", **options: Any) -> "Answer":
    """The answer of one analysis: figure, table, text and caption.

    Args:
        name: a registered analysis.
        runs: runs of one protocol.
        options: the analysis's own.

    Raises:
        UnknownName: if there is no such analysis.
        StoreError: if there are no finished runs, they are of several protocols, or lack a fact it needs.
    """
    return registry.get("analysis", name)(runs.one_protocol(), **options)
