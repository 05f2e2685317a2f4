"""Do networks become their infinitely wide twin as they widen?"""

from functools import partial

import pandas as pd

from clntk.axes import STEP
from clntk.figures.answer import Answer
from clntk.figures.scaling import beside_closed_form, guides, power_law
from clntk.figures.style import grid, house_style, legend, palette
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.in_time import outputs_in_time
from clntk.stats.phrases import interval
from clntk.stats.scaling import QUANTITY, along, exponents, keys_of, slope_note, swept_key

WIDTH, EPOCHS = "model.width", "strategy.epochs"
DEPARTURE = "closed_form_departure"
PANELS = {
    "Kernel error at init": ("infinite_kernel_error", -0.5),
    "Kernel distance after training": ("kernel_distance", None),
    "Departure, own first kernel": (DEPARTURE, None),
    "Departure, analytic kernel": ({"name": DEPARTURE, "kernel": "infinite"}, None),
}  # label → measure, and the power of the width that theory has


@register("analysis", place=10, networks=True)
def width_convergence(runs: RunSet) -> Answer:
    """How kernel and training approach those of infinite width, and outputs their closed form at every time.

    Raises:
        NotApplicable: for runs that are not of a sweep of width, over three values or more, and of training times.
        StoreError: for training that has no closed form, or a network without an infinitely wide twin.
    """
    key = swept_key(runs, WIDTH, "width_convergence", beside=[EPOCHS])
    longest = {EPOCHS: keys_of(runs, EPOCHS)[-1]} if EPOCHS in runs.axes else {}
    measures = {label: measure for label, (measure, _) in PANELS.items()}
    table = along(runs, measures, longest).assign(**longest)
    fits = exponents(runs, measures, key, where=longest)
    paths = outputs_in_time(runs, seed=runs.seeds[0], key=key)
    (colour,) = palette(runs.regimes).values()
    draws = [
        partial(
            power_law,
            table=table[table[QUANTITY] == label],
            key=key,
            labels=("Width", label),
            colour=colour,
            slope=slope,
            note=slope_note(fits.loc[label]),
        )
        for label, (_, slope) in PANELS.items()
    ]
    widths = keys_of(runs, key)
    for width in (widths[0], widths[-1]):
        shown, title = paths[paths[key] == width], f"Width {width}"
        draws.append(partial(beside_closed_form, table=shown, title=title, label="Outputs f_t"))
    lines = {
        "slope −½": "expected",
        "closed form, own first kernel": "-",
        "closed form, analytic kernel": ":",
    }
    with house_style():
        figure = grid(draws)
        legend(figure, runs.regimes, **guides(lines))
    told = [f"{label}: power of the width {interval(fits.loc[label])}." for label in PANELS]
    return Answer(
        title="Do networks become their infinitely wide twin as they widen?",
        figure=figure,
        table=pd.concat([table, paths], ignore_index=True),
        text="\n".join(told),
        caption=(
            "Thin lines are seeds, dots their mean with the 95 % bootstrap interval over seeds; slopes are fitted seed "
            "by seed. Kernel error: ‖K₀ − Θ‖/‖Θ‖ of the empirical kernel at initialisation and the analytic one. "
            "Departure: ‖f_t − f̂_t‖/‖f_t − f₀‖ after training, on the training examples, of the network from the "
            "closed form by its own first kernel and by the analytic one. Last two panels: three training examples of "
            f"seed {runs.seeds[0]}, dots the narrowest and widest network up to step {paths[STEP].max()}, lines the "
            "closed forms from the same start."
        ),
    )
