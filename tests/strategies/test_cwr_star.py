"""CWR*: a class's row is the average of what its phases made of it, and nothing else moves its logit."""

import pytest
import torch
from avalanche.core import SupervisedPlugin

from clntk.streams.base import Split, Task, TaskStream


def _with_labels(task, labels):
    def some(part):
        keep = torch.isin(part.y, torch.tensor(labels))
        return Split(part.x[keep], part.y[keep])

    return Task(task.name, some(task.train), some(task.test), Split(task.probe.x[:2], task.probe.y[:2]))


@pytest.fixture(scope="module")
def overlapping(make_task):
    """Three tasks with the classes 0 1, 1 2 and 2 3: two come twice, with other numbers of examples."""
    tasks = [_with_labels(make_task(f"task{t}", seed=7), [t, t + 1]) for t in range(3)]
    first = tasks[0]
    few = Split(first.train.x[:15], first.train.y[:15])
    tasks[0] = Task(first.name, few, first.test, first.probe)
    return TaskStream(tuple(tasks), outputs=4)


class _Trained(SupervisedPlugin):
    """The read-out as a phase's last step left it."""

    def after_update(self, strategy, **kwargs):
        self.rows = strategy.model.readout.weight.detach().clone()


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"optimizer": "adam", "momentum": 0.0, "lr": 0.01},
    ],
)
def test_rows_are_averages_weighted_by_roots_of_examples(options, overlapping, make_learner):
    watch = _Trained()
    learner = make_learner(overlapping, "cwr_star", plugins=(watch,), **options)
    rows, seen = {}, {}
    for phase, task in zip(overlapping.phases, overlapping.tasks, strict=True):
        learner.train(phase)
        counts = task.train.y.bincount(minlength=4).tolist()
        present = [c for c in range(4) if counts[c]]
        mean = watch.rows[present].mean()
        for c in present:
            old, new = seen.get(c, 0) ** 0.5, counts[c] ** 0.5
            rows[c] = (old * rows.get(c, 0.0) + new * (watch.rows[c] - mean)) / (old + new)
            seen[c] = seen.get(c, 0) + counts[c]
        for c, row in rows.items():
            torch.testing.assert_close(learner.model.readout.weight[c].detach(), row)
    assert seen[1] != seen[3], "the roots are of different numbers"


@pytest.mark.parametrize("options", [{"momentum": 0.9, "weight_decay": 0.1}, {"optimizer": "adam"}])
def test_logits_of_classes_that_are_not_in_training_stay_as_they_are(options, overlapping, make_learner):
    """Their rows are put back; a bias that went on learning would move them all the same."""
    learner = make_learner(overlapping, "cwr_star", epochs=5, lr=0.2, **options)
    with torch.no_grad():
        learner.model.readout.bias.fill_(0.7)  # as a model or regime may have it
    x = overlapping.tasks[0].test.x
    learner.train(overlapping.phases[0])
    before = learner.model(x)[:, 0].detach()
    body = learner.model.hidden1.linear.weight.detach().clone()
    for phase in overlapping.phases[1:]:
        learner.train(phase)
        assert torch.equal(learner.model(x)[:, 0], before)
        assert torch.equal(learner.model.hidden1.linear.weight, body)
    assert (learner.model.readout.bias == 0).all()
