"""How much was forgotten, and which tasks paid?"""

import pandas as pd

from clntk.axes import CHECKPOINT, EVAL_TASK, LABELS
from clntk.errors import StoreError
from clntk.figures.answer import Answer
from clntk.figures.findings import scored_by
from clntk.figures.matrices import matrices_of, matrix_row
from clntk.figures.style import house_style
from clntk.registry import register
from clntk.runs.runset import RunSet
from clntk.stats.phrases import estimates

ACCURACIES = ("average_accuracy", "learning_accuracy", "forgetting", "backward_transfer")
LOSSES = (
    "final_train_loss",
    {"name": "forgetting", "of": "loss"},
    {"name": "backward_transfer", "of": "loss"},
)


@register("analysis", place=1)
def forgetting(runs: RunSet) -> Answer:
    """The accuracy matrix of each regime: test accuracy on each task after each phase; or what test losses rose by."""
    if scored_by(runs) == "accuracy":
        table = runs.measure("accuracy_matrix")
        chance = float(next(iter(runs)).tree.attrs["chance"])
        return _answer(runs, table, "accuracy_matrix", "Test accuracy", top=1.0, numbers=ACCURACIES, caption=(
            "Rows: the phase just trained; columns: the task tested; numbers: test accuracy, mean over seeds. The "
            "diagonal is learning; a column that darkens downwards is forgetting; above the diagonal are tasks not yet "
            f"trained, near chance ({chance:.2f}). The floor of forgetting need not be chance: applying the last "
            "task's rule to an old task can do better."
        ))  # fmt: skip
    table = runs.measure("forgetting", of="loss")
    if table["forgetting"].isna().all():
        raise StoreError(
            "these runs have neither accuracies nor tasks learned in an earlier phase, as in joint training: there is "
            "nothing that could have been forgotten"
        )
    return _answer(runs, table, "forgetting", "Rise of the test loss", top=None, numbers=LOSSES, caption=(
        "Targets have no accuracy here, so forgetting is of loss. Rows: the phase just trained; columns: the task "
        "tested; numbers: how far its test loss lies above the lowest that an earlier phase had reached, mean over "
        "seeds, in units of the loss; empty where the task had not been trained before."
    ))  # fmt: skip


def _answer(
    runs: RunSet,
    table: pd.DataFrame,
    value: str,
    label: str,
    *,
    top: float | None,
    numbers: tuple,
    caption: str,
) -> Answer:
    matrices = matrices_of(table, value, rows=CHECKPOINT, columns=EVAL_TASK)
    with house_style():
        figure = matrix_row(matrices, label=label, row_label=LABELS[CHECKPOINT], vmax=top)
    return Answer("How much was forgotten?", figure, table, estimates(runs, numbers), caption)
