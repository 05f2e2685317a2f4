"""Do weights and kernel stay where they are as the output scale grows?"""

from functools import partial
from typing import Annotated

from pydantic import Field

from clntk.figures.answer import Answer
from clntk.figures.scaling import guides, power_law
from clntk.figures.style import grid, house_style, legend, palette
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import interval, words
from clntk.stats.scaling import QUANTITY, along, exponents, highest_decades, keys_of, slope_note, swept_key

EXPECTED = {
    "relative_weight_change": -1,
    "relative_kernel_change": -1,
    "kernel_distance": -2,
    "linearisation_error": -1,
}  # measure → the power of α


@register("analysis", place=9, networks=True)
def lazy_training(runs: RunSet, *, decades: Annotated[float, Field(gt=0)] = 2.0) -> Answer:
    """How weights, kernel and linearisation error fall with the output scale α, beside the powers that theory has.

    Args:
        decades: how many exponents are fitted to, of the highest α (three at least): below, training may be rich.

    Raises:
        NotApplicable: for runs that are not of a sweep of α alone, over three values or more.
    """
    key = swept_key(runs, ".alpha", "lazy_training")
    between = highest_decades(keys_of(runs, key), decades)
    named = {name: name for name in EXPECTED}
    table = along(runs, named)
    fits = exponents(runs, named, key, between=between)
    (colour,) = palette(runs.regimes).values()
    draws = [
        partial(
            power_law,
            table=table[table[QUANTITY] == name],
            key=key,
            labels=("Output scale α", words(name)),
            colour=colour,
            slope=slope,
            between=between,
            note=slope_note(fits.loc[name]),
        )
        for name, slope in EXPECTED.items()
    ]
    with house_style():
        figure = grid(draws)
        legend(figure, runs.regimes, **guides({"slope of theory: −1, kernel distance −2": "expected"}))
    span = "from α = {:g} to {:g}".format(*between)
    told = [
        f"{words(name)}: power of α {interval(fits.loc[name])}; theory {slope}."
        for name, slope in EXPECTED.items()
    ]
    return Answer(
        title="Do weights and kernel stay where they are as the output scale grows?",
        figure=figure,
        table=table,
        text="\n".join([f"Exponents {span}.", *told]),
        caption=(
            "At the end of training, from initialisation, on logarithmic axes; compare at matched training loss. Thin "
            "lines are seeds, dots their mean with the 95 % bootstrap interval over seeds. Dashed: the slope that "
            f"theory has, drawn above the data {span}, where slopes are fitted, seed by seed. Relative changes "
            "‖θ − θ₀‖/‖θ₀‖ and ‖K − K₀‖/‖K₀‖ are first order in how far weights move, the kernel distance 1 − ⟨K, "
            "K₀⟩/(‖K‖‖K₀‖) is second order. Linearisation error: ‖f − f_lin‖/‖f − f₀‖ on the probes, at the weights "
            "that training reached."
        ),
    )
