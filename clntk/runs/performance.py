"""How well every task is done at a checkpoint, as tidy rows."""

from typing import Any

from clntk.capture.capture import Record
from clntk.strategies.learner import Learner


def performance_rows(learner: Learner, record: Record) -> list[dict[str, Any]]:
    """Loss and accuracy on the train and test set of every task, with its own gates and within its own head.

    Returns:
        Rows with checkpoint, step, trained_task, eval_task, metric (``test_accuracy``, ``test_loss``,
        ``train_accuracy``, ``train_loss``) and value.
    """
    rows = []
    device = next(learner.model.parameters()).device
    for t, task in enumerate(learner.stream.tasks):
        for part in ("train", "test"):
            split = getattr(task, part).to(device)
            loss, accuracy = learner.evaluate(split, t)
            for metric, value in ((f"{part}_loss", loss), (f"{part}_accuracy", accuracy)):
                rows.append(
                    {
                        "checkpoint": record.checkpoint,
                        "step": record.step,
                        "trained_task": record.task,
                        "eval_task": task.name,
                        "metric": metric,
                        "value": value,
                    }
                )
    return rows
