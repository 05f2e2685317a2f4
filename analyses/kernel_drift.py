"""How far did the tangent kernel and the weights move?"""

from clntk.figures.answer import Answer
from clntk.figures.style import house_style, legend, panels
from clntk.figures.trajectories import trajectory
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates

LABELS = {
    "kernel_distance": "Kernel distance to init",
    "relative_kernel_change": "Relative kernel change",
    "kernel_velocity": "Kernel velocity (per step)",
    "relative_weight_change": "Relative weight change",
}


@register("analysis", place=0)
def kernel_drift(runs: RunSet) -> Answer:
    """How far and how fast the tangent kernel and the weights moved from initialisation, checkpoint by checkpoint."""
    tables = {name: runs.measure(name) for name in LABELS}
    weights = tables["relative_weight_change"]
    tables["relative_weight_change"] = weights[weights["param"] == "all"]
    with house_style():
        figure, axes = panels(len(LABELS), columns=2)
        for axis, (name, label) in zip(axes, LABELS.items(), strict=True):
            trajectory(axis, tables[name], name, conditions=runs.conditions, label=label, log=True)
        legend(figure, runs.conditions)
    kernels = [name for name in LABELS if name != "relative_weight_change"]
    table = tables["kernel_distance"]
    for name in kernels[1:]:
        table = table.merge(tables[name])
    return Answer(
        title="How far did the kernel move?",
        figure=figure,
        table=table.merge(tables["relative_weight_change"].drop(columns="param")),
        text=estimates(runs, LABELS),
        caption=(
            "Thin lines are seeds, thick lines their mean with the 95 % bootstrap interval over seeds; tasks' own "
            "blocks K_tt averaged within a seed; dotted lines are task switches. Kernel distance 1 − ⟨K, "
            "K₀⟩/(‖K‖‖K₀‖) is blind to scale; relative change ‖K − K₀‖/‖K₀‖ sees scale too; velocity is the kernel "
            "distance between neighbouring checkpoints over the steps between them, drawn where its interval ends (in "
            "the text: the mean of all intervals); weight change is ‖θ − θ₀‖/‖θ₀‖. Logarithmic axes; a lazy network "
            "stays near the bottom of all four."
        ),
    )
