"""What is the geometry of the tasks in hidden activity?"""

from clntk.axes import EVAL_TASK
from clntk.figures.answer import Answer
from clntk.figures.dots import dots
from clntk.figures.findings import REFERENCE, Findings, against_untrained, draws, ends, last, pairs
from clntk.figures.style import dashed, grid, house_style, legend
from clntk.figures.trajectories import trajectory
from clntk.registry import register
from clntk.runs.runset import RunSet

NUMBERS = (
    "dimensionality.participation_ratio",
    "dimensionality.joint_participation_ratio",
    "task_subspaces.alignment",
    "compression.ratio",
    "decoding",
    "rsa",
)


@register("analysis", place=6)
def geometry(runs: RunSet) -> Answer:
    """Over how many dimensions activity spreads, how tasks' subspaces lie, and what linear read-outs tell of them."""
    found = Findings(runs)
    own = found.quantity("dimensionality", "participation_ratio")
    joint = found.quantity("dimensionality", "joint_participation_ratio", without=(EVAL_TASK,))
    alignment = found.quantity("task_subspaces", "alignment", reference="alignment_chance", keep=pairs)
    compression = found.quantity("compression", "ratio")
    decoded = found.quantity("decoding", "accuracy", reference="chance", keep=last)
    betas = against_untrained(found.quantity("rsa", "beta", keep=ends))
    compared = {"reference": REFERENCE}
    panels = [
        ("Dimension, one task", trajectory, own, {}),
        ("Dimension, all tasks", trajectory, joint, {}),
        ("Alignment of subspaces", trajectory, alignment, compared),
        ("Irrelevant / relevant", trajectory, compression, {"log": True}),
        ("Decoding accuracy", dots, decoded, {"by": "decoded", **compared}),
        ("Weight of model RDM", dots, betas, {"by": "model", **compared}),
    ]
    table = found.table()
    with house_style():
        figure = grid(draws(panels, runs.conditions))
        legend(figure, runs.conditions, chance_or_untrained=dashed())
    return Answer(
        title="What is the geometry of tasks?",
        figure=figure,
        table=table,
        text=found.text(*NUMBERS),
        caption=(
            "Layers, tasks and pairs of tasks averaged within a seed; lines and dots are means over seeds with 95 % "
            "bootstrap intervals, dotted lines task switches. Dimension: participation ratio (Σλ)²/Σλ² of hidden "
            "activity on the probes, bounded by their number. Alignment: variance of one task's activity within the "
            "subspace of another, over the most that as many dimensions hold; dashed: random subspaces. Irrelevant / "
            "relevant: variance along what a task has to ignore over that along what decides in it (elsewhere within "
            "over between classes), on a logarithmic axis; below 1 the irrelevant is compressed. Decoding after the "
            "last phase: linear, cross-validated, or tested in conditions held out (across); dashes: chance. Weights "
            "of model RDMs in the regression on distances between patterns; dashes: the untrained network."
        ),
    )
