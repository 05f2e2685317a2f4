"""How lazily did the networks learn?"""

from clntk.axes import EVAL_TASK, LAYER
from clntk.figures.answer import Answer
from clntk.figures.dots import dots
from clntk.figures.findings import Findings, draws, last
from clntk.figures.style import grid, house_style, legend
from clntk.figures.trajectories import trajectory
from clntk.registry import register
from clntk.runs.runset import RunSet

NUMBERS = (
    "relative_weight_change",
    "layer_weight_change",
    "kernel_distance",
    "feature_movement.joint",
    "gate_flips",
    "linearisation_error",
)


@register("analysis", place=3, networks=True)
def laziness(runs: RunSet) -> Answer:
    """How far weights, kernel, features and gates moved, and how wrong the network linearised at its start became."""
    found = Findings(runs)
    weights = found.quantity("relative_weight_change", keep=lambda table: table["param"] == "all")
    layers = found.quantity("layer_weight_change", keep=last)
    kernels = found.quantity("kernel_distance")
    features = found.quantity("feature_movement", "joint", without=(EVAL_TASK,))
    gates, error = found.quantity("gate_flips"), found.quantity("linearisation_error")
    log = {"log": True}
    panels = [
        ("Relative weight change", trajectory, weights, log),
        ("Relative change by layer", dots, layers, {"by": LAYER, **log}),
        ("Kernel distance to init", trajectory, kernels, log),
        ("Feature movement", trajectory, features, log),
        ("Gates flipped (fraction)", trajectory, gates, log),
        ("Linearisation error", trajectory, error, log),
    ]
    table = found.table()
    with house_style():
        figure = grid(draws(panels, runs.conditions))
        legend(figure, runs.conditions)
    return Answer(
        title="How lazily did the networks learn?",
        figure=figure,
        table=table,
        text=found.text(*NUMBERS),
        caption=(
            "All from initialisation, on logarithmic axes: the lower, the lazier; dotted lines are task switches. "
            "Thin lines and small dots are seeds, the rest their mean with the 95 % bootstrap interval over seeds; "
            "tasks and layers are averaged within a seed, but for the change by layer, after the last phase. Feature "
            "movement is 1 − linear CKA of hidden activity, blind to rotations and scale. Gates: units × probes that "
            "turned from active to silent or back. Linearisation error: ‖f − f_lin‖/‖f − f₀‖ of outputs on the "
            "probes, near 0 where the network is its own first-order expansion at the weights it reached, near 1 "
            "where that tells nothing."
        ),
    )
