"""How are units tuned to tasks?"""

import matplotlib.pyplot as plt
import pandas as pd

from clntk.figures.answer import Answer
from clntk.figures.style import PAGE, house_style
from clntk.figures.units import CLASSES, INITIAL, class_bars, selectivity_strip
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates


@register("analysis", place=2)
def task_tuning(runs: RunSet) -> Answer:
    """How selective single units are for tasks at the end of training, and how many serve one task only."""
    units = runs.measure("unit_tuning").drop(columns=["mean_activation", "eval_task"]).drop_duplicates()
    last = units.groupby("run")["checkpoint"].transform(lambda labels: labels.iloc[-1])
    final = units[units["checkpoint"] == last]
    initial = units[(units["checkpoint"] == "init") & (units["condition"] == runs.conditions[0])]
    drawn = pd.concat([initial.assign(condition=INITIAL), final], ignore_index=True)
    fractions = final.groupby("condition")[list(CLASSES)].mean()
    with house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7), width_ratios=(3, 2))
        selectivity_strip(left, drawn, conditions=runs.conditions)
        class_bars(right, fractions, conditions=runs.conditions)
    return Answer(
        title="How are units tuned?",
        figure=figure,
        table=drawn,
        text=estimates(runs, ("unit_tuning",)),
        caption=(
            "Left: each dot is a hidden unit (all seeds) after the last phase; index (a_max − mean of the others)/"
            "(a_max + mean of the others) of its mean rectified activations by task, 0 = equal on all tasks, 1 = one "
            "task alone; lines are quartiles; grey is the untrained network of the first condition, the control. "
            "Right: units ever active on the probes of exactly one task, of several, or of none. Few probes bias the "
            "index upwards: read it against the untrained network, not against 0. Tuning alone does not show "
            "protection."
        ),
    )
