"""How are units tuned to tasks?"""

import matplotlib.pyplot as plt

from clntk.axes import CONDITION, EVAL_TASK, LAYER
from clntk.figures.answer import Answer
from clntk.figures.dots import dots
from clntk.figures.findings import REFERENCE, VALUE, against_untrained, ends, last
from clntk.figures.style import PAGE, house_style, legend
from clntk.figures.units import CLASSES, class_bars, rainclouds
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates


@register("analysis", place=2)
def task_tuning(runs: RunSet) -> Answer:
    """How selective single units are for tasks at the end of training, beyond chance, and how many serve one alone."""
    units = runs.measure("unit_tuning").drop(columns=["mean_activation", EVAL_TASK]).drop_duplicates()
    drawn = units[ends(units)].reset_index(drop=True)
    fractions = drawn[last(drawn)].groupby(CONDITION)[list(CLASSES)].mean()
    tuned = against_untrained(drawn[[*runs.axes, "run", "seed", CONDITION, "checkpoint", "unit", LAYER]].assign(
        **{VALUE: drawn["tuned"].astype(float)}
    ))  # fmt: skip
    with house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.9), width_ratios=(5, 3, 4))
        rainclouds(
            left, drawn, "selectivity_corrected", conditions=runs.conditions, label="Selectivity − null"
        )
        label, shared = "Units tuned beyond chance", {"by": LAYER, "conditions": runs.conditions}
        dots(middle, tuned, VALUE, label=label, reference=REFERENCE, **shared)
        class_bars(right, fractions, conditions=runs.conditions)
        legend(figure, runs.conditions)
    return Answer(
        title="How are units tuned?",
        figure=figure,
        table=drawn,
        text=estimates(runs, ("unit_tuning",)),
        caption=(
            "Left: hidden units that are not dead (all seeds) after the last phase, and in grey the untrained network "
            "of the same condition; index (a_max − mean of the others)/(a_max + mean of the others) of mean rectified "
            "activations by task, less its mean under permutation of the task labels, so that 0 is what chance gives; "
            "white space aside, lines are quartiles. Middle: fraction of units whose index passes that null at a "
            "false-discovery rate of 5 %; dots are means over seeds with 95 % bootstrap intervals, dashes the "
            "untrained network. Right: units ever active on the probes of exactly one task, of several, or of none. "
            "Inputs that differ between tasks tune even untrained units; and tuning alone does not show protection."
        ),
    )
