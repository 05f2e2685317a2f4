"""Is what networks forget what a kernel that does not move says they would?"""

from typing import Annotated, Any, Literal

from pydantic import Field

from clntk.axes import CONDITION
from clntk.errors import NotApplicable
from clntk.figures.answer import Answer
from clntk.figures.forecast import TITLES, forecast_panels
from clntk.figures.style import house_style
from clntk.measures.kernel_forecast import KERNEL
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.forecast import ACTUAL, PARTED, PREDICTED, bounded_forecasts, departures, forecast_fits
from clntk.stats.phrases import interval, number

NOTHING = "closed_form_forgetting: no run learned a task before another, so that nothing could be forgotten"
NO_FORECAST = (
    "closed_form_forgetting: kernels predict gradient descent, in steps that they can bear, and found no run of it; "
    "take strategy.optimizer=sgd, or a smaller strategy.lr"
)


@register("analysis", place=8, networks=True)
def closed_form_forgetting(
    runs: RunSet, *, on: Literal["train", "probes"] = "train", examples: Annotated[int, Field(ge=1)] = 400
) -> Answer:
    """Forgetting as two fixed kernels predict it beside what was forgotten, and where networks part from them.

    Args:
        on: the examples that kernels are of, training data or probes: see :func:`clntk.predict_forgetting`.
        examples: of each task's training data, at most so many: the fewer, the faster and the farther off.

    Raises:
        NotApplicable: if nothing could be forgotten, or no run was trained by gradient descent.
    """
    from clntk.runs.kernel_forecast import predict_forgetting  # brings torch, which other analyses do without

    table = bounded_forecasts(predict_forgetting(runs, on=on, examples=examples))
    if table[ACTUAL].isna().all() or table[PREDICTED].isna().all():
        raise NotApplicable(NOTHING if table[ACTUAL].isna().all() else NO_FORECAST)
    fits, each = forecast_fits(table), forecast_fits(table, [CONDITION])
    notes = {row[KERNEL]: _fit(row) for _, row in fits.iterrows()}
    with house_style():
        figure = forecast_panels(table, conditions=runs.conditions, notes=notes)
    told = [f"{TITLES[row[KERNEL]]}, {row['points']} points: {_fit(row)}." for _, row in fits.iterrows()]
    if none := int(table["predicted"].isna().sum()):
        told.append(
            f"Without a prediction: {none} of {len(table)} (no gradient descent, or steps too large for it)."
        )
    told += [_parting(row) for _, row in each.merge(departures(table)).iterrows()]
    whole = table["share"].min()  # NaN of probes
    data = f"{whole:.0%} of the training data" if whole == whole else "the probes, which were not trained on"
    return Answer(
        title="Is what was forgotten what kernels foretold?",
        figure=figure,
        table=table,
        text="\n".join(told),
        caption=(
            "Top: growth of the loss on a task's probes since its first phase, as a kernel that does not move predicts "
            "it and as it was; a point a run, phase and task learned before (arrows: beyond the axis), dashed where "
            "both agree. Bottom: how far outputs are from the prediction over how far they moved, 0 if it is exact, 1 "
            f"if no better than no change; beyond the dotted line, {PARTED}, a run has parted from its kernel. The "
            "kernel at initialisation predicts the whole sequence, that at each task's start one phase. Thin lines are "
            f"seeds, thick ones their mean with the 95 % bootstrap interval. Kernels are of {data} (on, examples): "
            "what they leave out is part of the departure, and so is the noise of minibatches."
        ),
    )


def _fit(row: Any) -> str:
    return f"R² = {number(row['r2'])}, slope {number(row['slope'])}"


def _parting(row: Any) -> str:
    where = f"first beyond {PARTED} after {row['parted']}" if row["parted"] else f"never beyond {PARTED}"
    of = f"{row[CONDITION]} by the {TITLES[row[KERNEL]].lower()}"
    return f"{of}: {_fit(row)}; departure after the last phase {interval(row)}, {where}."
