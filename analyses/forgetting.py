"""How much was forgotten, and which tasks paid?"""

from clntk.axes import CHECKPOINT, LABELS
from clntk.figures.answer import Answer
from clntk.figures.matrices import matrix_row
from clntk.figures.style import house_style
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates


@register("analysis", place=1)
def forgetting(runs: RunSet) -> Answer:
    """The accuracy matrix of each regime: what each task's test accuracy was after each phase of training."""
    table = runs.measure("accuracy_matrix")
    order = {axis: list(dict.fromkeys(table[axis])) for axis in ("checkpoint", "eval_task")}
    mean = table.groupby(["condition", "checkpoint", "eval_task"], sort=False)["accuracy_matrix"].mean()
    matrices = {
        condition: mean[condition]
        .unstack("eval_task")
        .reindex(**{"columns": order["eval_task"]})
        .reindex(order["checkpoint"])
        .dropna(how="all")
        for condition in runs.conditions
    }
    chance = float(next(iter(runs)).tree.attrs["chance"])
    with house_style():
        figure = matrix_row(matrices, label="Test accuracy", row_label=LABELS[CHECKPOINT])
    return Answer(
        title="How much was forgotten?",
        figure=figure,
        table=table,
        text=estimates(runs, ("average_accuracy", "learning_accuracy", "forgetting", "backward_transfer")),
        caption=(
            "Rows: the phase just trained; columns: the task tested; numbers: test accuracy, mean over seeds. The "
            "diagonal is learning; a column that darkens downwards is forgetting; above the diagonal are tasks not yet "
            f"trained, near chance ({chance:.2f}). The floor of forgetting need not be chance: applying the last "
            "task's rule to an old task can do better."
        ),
    )
