"""How far did the tangent kernel and the weights move?"""

from clntk.figures.answer import Answer
from clntk.figures.style import house_style, panels
from clntk.figures.trajectories import trajectory
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates

MEASURES = ("kernel_distance", "relative_kernel_change", "relative_weight_change")
LABELS = ("Kernel distance to init", "Relative kernel change", "Relative weight change")


@register("analysis", place=0)
def kernel_drift(runs: RunSet) -> Answer:
    """How far the tangent kernel and the weights moved from initialisation, checkpoint by checkpoint."""
    tables = {name: runs.measure(name) for name in MEASURES}
    weights = tables["relative_weight_change"]
    tables["relative_weight_change"] = weights[weights["param"] == "all"]
    with house_style():
        figure, axes = panels(len(MEASURES))
        for axis, (name, table), label in zip(axes, tables.items(), LABELS, strict=True):
            trajectory(axis, table, name, conditions=runs.conditions, label=label, log=True)
        axes[0].legend()
    return Answer(
        title="How far did the kernel move?",
        figure=figure,
        table=tables["kernel_distance"].merge(tables["relative_kernel_change"]),
        text=estimates(runs, MEASURES),
        caption=(
            "Thin lines are seeds, thick lines their mean; tasks' own blocks K_tt averaged within a seed. Left: kernel "
            "distance 1 − ⟨K, K₀⟩/(‖K‖‖K₀‖), blind to scale. Middle: ‖K − K₀‖/‖K₀‖, which sees scale too. Right: "
            "‖θ − θ₀‖/‖θ₀‖. Logarithmic axes; a lazy network stays near the bottom of all three."
        ),
    )
