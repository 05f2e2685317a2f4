"""How are units tuned to tasks?"""

from clntk.figures.answer import Answer
from clntk.figures.style import PAGE, house_style
from clntk.figures.units import CLASSES, class_bars, selectivity_strip
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates


@register("analysis")
def task_tuning(runs: RunSet) -> Answer:
    """How selective single units are for tasks at the end of training, and how many serve one task only."""
    import matplotlib.pyplot as plt

    units = runs.measure("unit_tuning").drop(columns=["mean_activation", "eval_task"]).drop_duplicates()
    last = units.groupby("run")["checkpoint"].transform(lambda labels: labels.iloc[-1])
    final = units[units["checkpoint"] == last]
    fractions = final.groupby("condition")[list(CLASSES)].mean()
    with house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7), width_ratios=(3, 2))
        selectivity_strip(left, final, conditions=runs.conditions)
        class_bars(right, fractions, conditions=runs.conditions)
    return Answer(
        title="How are units tuned?",
        figure=figure,
        table=final,
        text=estimates(runs, ("unit_tuning",)),
        caption=(
            "Left: each dot is a hidden unit (all seeds) after the last phase; index (a_max − mean of the others)/"
            "(a_max + mean of the others) of its mean rectified activations by task, 0 = equal on all tasks, 1 = one task "
            "alone; lines are quartiles. Right: units ever active on the probes of exactly one task, of several, or of none. "
            "Small probe sets bias the index upwards, so compare regimes rather than reading it against 0; tuning alone "
            "does not show protection."
        ),
    )
