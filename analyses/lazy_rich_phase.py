"""Does forgetting depend on how lazily a network learns?"""

from functools import partial
from typing import Literal

from clntk.axes import CONDITION, REGIME
from clntk.errors import NotApplicable
from clntk.figures.answer import Answer
from clntk.figures.clouds import markers_of, phase_diagram, points_of_runs
from clntk.figures.findings import scored_by
from clntk.figures.style import grid, house_style, legend
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates, words


@register("analysis", place=7)
def lazy_rich_phase(
    runs: RunSet,
    *,
    laziness: Literal[
        "kernel_distance", "relative_kernel_change", "relative_weight_change"
    ] = "kernel_distance",
) -> Answer:
    """Forgetting and performance against laziness over a sweep, one point a run.

    Args:
        laziness: what tells lazy from rich, on the horizontal axis; the smaller, the lazier.

    Raises:
        NotApplicable: for runs that are not of a sweep.
    """
    if not runs.axes or len(runs.conditions) < 2:
        raise NotApplicable(
            f"lazy_rich_phase: expected runs of a sweep, found {', '.join(runs.conditions)} with nothing swept; run "
            "the protocol over a grid, such as 'sweep.model.width=[32, 128]'"
        )
    of = scored_by(runs)
    well = "average_accuracy" if of == "accuracy" else "final_train_loss"
    measures = [laziness, {"name": "forgetting", "of": of}, well]
    points = points_of_runs(runs.scalars(measures))
    labels = {"forgetting": f"Forgetting ({of})", well: words(well)}
    markers = markers_of(dict(zip(points[CONDITION], points[REGIME], strict=True)))
    shared = {"conditions": runs.conditions, "markers": markers}
    draws = [
        partial(phase_diagram, table=points, x=laziness, y=y, labels=(words(laziness), label), **shared)
        for y, label in labels.items()
        if points[y].notna().any()  # joint training forgets nothing
    ]
    with house_style():
        figure = grid(draws)
        legend(figure, runs.conditions, markers=markers)
    return Answer(
        title="Does forgetting depend on laziness?",
        figure=figure,
        table=points,
        text=estimates(runs, measures),
        caption=(
            "One point a run, at the end of training; colours are conditions, shapes regimes. Horizontal: how far the "
            "network moved from initialisation, on a logarithmic axis; lazy is left, rich is right. Conditions that "
            "are not trained to the same loss differ in more than laziness, and what is swept may act by other ways: "
            "a trend over conditions is no proof of a cause."
        ),
    )
