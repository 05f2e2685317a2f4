"""Do tasks interfere, and is it what first-order theory says?"""

from functools import partial

from clntk.axes import CONDITION, EVAL_TASK, LABELS, LAYER, OTHER_TASK
from clntk.figures.answer import Answer
from clntk.figures.clouds import against_identity, cloud_height
from clntk.figures.dots import dots
from clntk.figures.findings import REFERENCE, VALUE, Findings, draws, last, last_pairs, pairs
from clntk.figures.matrices import matrices_height, matrices_of, matrix_row
from clntk.figures.seeds import over_seeds
from clntk.figures.style import grid, house_style, legend, stacked
from clntk.figures.trajectories import trajectory
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import number

NUMBERS = (
    "cross_task_overlap",
    "tangent_subspaces.overlap",
    "gradient_cosine",
    "prediction_fit.r2",
    "prediction_fit.slope",
    "layer_interference",
)


@register("analysis", place=4, networks=True)
def interference(runs: RunSet) -> Answer:
    """What kernel and gradients of two tasks share, and whether first-order theory predicts what old tasks lose."""
    found, rows = Findings(runs), []
    if len(overlap := found.quantity("cross_task_overlap", keep=last)):
        matrices = matrices_of(overlap, VALUE, rows=EVAL_TASK, columns=OTHER_TASK)
        labels = {"row_label": LABELS[EVAL_TASK], "column_label": LABELS[OTHER_TASK]}
        rows.append(
            (matrices_height(matrices), partial(matrix_row, matrices, label="Kernel overlap", **labels))
        )
    found.quantity("tangent_subspaces", "overlap", keep=last_pairs)
    fit = {name: found.quantity("prediction_fit", name, keep=last) for name in ("r2", "slope")}
    changes = found.quantity("predicted_output_change", "actual", reference="predicted", keep=last)
    if len(changes):
        r2, slope = (over_seeds(table, VALUE, [CONDITION])["estimate"] for table in fit.values())
        notes = {c: f"R² = {number(r2[c])}, slope {number(slope[c])}" for c in runs.conditions if c in r2}
        labels = ("Predicted change of outputs", "Actual change")
        cloud = partial(against_identity, points=changes, x=REFERENCE, y=VALUE, labels=labels, notes=notes)
        rows.append((cloud_height(notes), cloud))
    cosine = found.quantity("gradient_cosine", keep=pairs)
    shares = found.quantity("layer_interference", "share", keep=last_pairs)
    panels = [
        ("Gradient cosine", trajectory, cosine, {}),
        ("Share of cross-task kernel", dots, shares, {"by": LAYER}),
    ]
    if drawn := draws(panels, runs.conditions):
        rows.append((2.5, partial(grid, drawn)))
    table = found.table()
    with house_style():
        figure = stacked(rows)
        legend(figure, runs.conditions)
    return Answer(
        title="Do tasks interfere?",
        figure=figure,
        table=table,
        text=found.text(*NUMBERS),
        caption=(
            "Top: ‖K_st‖/√(‖K_ss‖‖K_tt‖) of the tangent kernel after the last phase, mean over seeds: 0 where a step "
            "on one task cannot move the other's outputs. Middle: how outputs on old tasks' probes changed since "
            "their own first training, against J(θ_k − θ_{k−1}) summed over phases (mean of both ends; points are "
            "probes × outputs of all seeds); dashed where they agree; R² of the prediction as it is and slope of "
            "actual on predicted are means over tasks and seeds. Bottom: cosine of two tasks' loss gradients, "
            "negative where a step on one raises the other's loss; and each layer's share of the kernel between two "
            "tasks after the last phase; dots and lines are means over seeds with 95 % bootstrap intervals, dotted "
            "lines task switches."
        ),
    )
