"""Does test error peak where a model can just fit its training data, and fall again beyond?"""

from functools import partial

import numpy as np

from clntk import registry
from clntk.axes import CONDITION
from clntk.figures.answer import Answer
from clntk.figures.descent import GROUP, along_setting
from clntk.figures.style import grid, house_style, legend
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.phrases import bounded, words
from clntk.stats.scaling import QUANTITY, along, swept_key

ERROR, LOSS = "test error", "final train loss"
NOISE = "stream.label_noise"


@register("analysis", place=11)
def double_descent(runs: RunSet, *, threshold: float | None = None, prominence: float = 0.02) -> Answer:
    """Test error and training loss along a sweep of the width, for every level of label noise.

    Args:
        threshold: the width at which the model can just fit its training data, to be marked: as many features as
            examples, or as many parameters as examples × outputs.
        prominence: how far a peak of the test error has to stand out.

    Raises:
        NotApplicable: for runs that are not of a sweep of the width, over three values or more.
    """
    key = swept_key(runs, ".width", "double_descent", beside=[NOISE])
    table = along(runs, {ERROR: "average_accuracy", LOSS: "final_train_loss"})
    table["value"] = np.where(table[QUANTITY] == ERROR, 1 - table["value"], table["value"])
    table[GROUP] = "label noise " + table[NOISE].map("{:g}".format) if NOISE in table else table["regime"]
    groups = list(dict.fromkeys(table[GROUP]))
    draws = [
        partial(
            along_setting,
            table=table[table[QUANTITY] == name],
            key=key,
            groups=groups,
            labels=(words(key.rpartition(".")[2]), words(name)),
            threshold=threshold,
            log=name == LOSS,
        )
        for name in (ERROR, LOSS)
    ]
    told = [_peak(runs, key, noise, prominence) for noise in sorted(set(table.get(NOISE, [None])))]
    with house_style():
        figure = grid(draws)
        legend(figure, groups)
    mark = "" if threshold is None else f" Dotted: {threshold:g}, where it can just fit its training data."
    return Answer(
        title="Does test error peak where a model just fits, and fall again?",
        figure=figure,
        table=table.drop(columns=CONDITION),
        text="\n".join(told),
        caption=(
            "Thin lines are seeds, thick ones their mean with the 95 % bootstrap interval over seeds. Test error: of "
            f"labels that are right, mean over tasks; training loss: with the labels trained on.{mark}"
        ),
    )


def _peak(runs: RunSet, key: str, noise: float | None, prominence: float) -> str:
    where = {} if noise is None else {NOISE: noise}
    found = registry.get("finding", "peak")(
        runs, measure="average_accuracy", along=key, where=where, lowest=True, prominence=prominence
    )
    known = found[np.isfinite(found)]
    told = f"in {len(known)} of {len(found)} seeds"
    at = f", at a width of {bounded(known.mean(), *bootstrap_interval(known))}" if len(known) else ""
    return f"{'' if noise is None else f'Label noise {noise:g}: '}a peak of the test error {told}{at}."
