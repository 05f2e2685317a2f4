"""A head of outputs for each task: training and judging see the task's own logits, and nothing else."""

import pytest
import torch
from torch.nn import functional

from clntk.strategies.avalanche.per_task import PerTask, bare, logits
from clntk.strategies.learner import disjoint_heads, head_mask
from clntk.strategies.training import OUTSIDE, Loss, accuracy
from clntk.streams.base import Split
from clntk.streams.presentation import multi_head


@pytest.fixture(scope="module")
def headed(stream):
    """Three tasks with four outputs each."""
    return multi_head(stream)


def _by_hand(model, data, head, loss, *, steps, lr):
    """Full-batch gradient descent on the head's logits alone."""
    targets = torch.as_tensor([head.index(int(label)) for label in data.y])
    for _ in range(steps):
        model.zero_grad()
        loss(model(data.x)[:, list(head)], targets).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= lr * p.grad
    return [p.detach() for p in model.parameters()]


def _half_squared(f, y):
    return 0.5 * (f - functional.one_hot(y, f.shape[1])).square().sum() / len(f)


@pytest.mark.parametrize(
    ("name", "loss"), [("cross_entropy", functional.cross_entropy), ("squared_error", _half_squared)]
)
def test_training_is_that_of_the_heads_logits_alone(name, loss, headed, make_learner, make_model, weights_of):
    learner = make_learner(headed, loss=name, batch_size=None, epochs=3, momentum=0.0)
    model = make_model(headed)
    for phase in headed.phases:
        learner.train(phase)
        (task,) = phase.tasks
        expected = _by_hand(model, headed.tasks[task].train, headed.heads[task], loss, steps=3, lr=0.05)
        torch.testing.assert_close(weights_of(learner.model), expected, rtol=1e-5, atol=1e-6)


def test_read_outs_of_other_tasks_stay_where_they_are(headed, make_learner):
    learner = make_learner(headed, momentum=0.0)
    before = learner.model.readout.weight.detach().clone()
    learner.train(headed.phases[1])
    moved = (learner.model.readout.weight != before).any(1)
    assert moved.tolist() == [False] * 4 + [True] * 4 + [False] * 4


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error", "sum_squared_error"])
def test_loss_and_accuracy_are_those_of_the_head(name, headed, make_learner):
    learner = make_learner(headed, loss=name, lr=0.001)
    learner.train(headed.phases[0])
    for t, task in enumerate(headed.tasks):
        head = list(headed.heads[t])
        f = learner.model(task.test.x)[:, head].detach()
        y = task.test.y - head[0]
        squares = 0.5 * (f - functional.one_hot(y, 4)).square().sum()
        expected = {
            "cross_entropy": functional.cross_entropy(f, y),
            "squared_error": squares / len(y),
            "sum_squared_error": squares,
        }[name]
        loss, right = learner.evaluate(task.test, t)
        assert loss == pytest.approx(expected.item(), rel=1e-5)
        assert right == pytest.approx((f.argmax(1) == y).float().mean().item())


def test_a_phase_stops_at_the_loss_within_its_head(headed, make_learner):
    learner = make_learner(headed, epochs=100, stop_loss=0.5, stop_check=1, momentum=0.0)
    for phase in headed.phases:
        learner.train(phase)
        assert learner.evaluate(headed.tasks[phase.tasks[0]].train, phase.tasks[0])[0] <= 0.5
    assert learner.steps < 300


def test_examples_of_several_tasks_are_each_seen_in_their_own_head(headed, make_learner):
    learner = make_learner(headed)
    x = torch.cat([task.test.x[:3] for task in headed.tasks])
    tasks = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    f, raw = logits(learner.strategy.model, x, tasks), learner.model(x)
    for n, t in enumerate(tasks.tolist()):
        inside = torch.zeros(12, dtype=torch.bool)
        inside[list(headed.heads[t])] = True
        assert torch.equal(f[n, inside], raw[n, inside])
        assert (f[n, ~inside] == OUTSIDE).all()
    every = learner.strategy.model(x)
    assert torch.equal(every[1][3:6], f[3:6])
    assert bare(learner.strategy.model, x, tasks) == (learner.model, x)


def test_a_stream_with_one_head_is_trained_as_it_is(stream, headed, make_learner):
    plain = make_learner(stream)
    assert plain.strategy.model is plain.model
    assert head_mask(stream) is None
    assert not disjoint_heads(stream)
    learner = make_learner(headed)
    assert isinstance(learner.strategy.model, PerTask)
    assert disjoint_heads(headed)
    assert [name for name, _ in learner.model.named_parameters()] == [
        name for name, _ in plain.model.named_parameters()
    ]
    assert learner.state_dict()["model"].keys() == learner.model.state_dict().keys()


def test_heads_of_one_value_are_judged_by_its_sign():
    f = torch.tensor([[1.0, OUTSIDE], [OUTSIDE, -2.0], [-3.0, OUTSIDE], [OUTSIDE, 4.0]])
    y = torch.tensor([[2.0, 0.0], [7.0, -1.0], [1.0, 0.0], [0.0, 0.0]])
    assert accuracy(f, y, rule="sign") == pytest.approx(2 / 3)
    loss = Loss("squared_error", heads=True)
    assert loss(f, y).item() == pytest.approx(0.5 * (1 + 1 + 16 + 16) / 4)
    assert loss.each(f, y).tolist() == [0.5, 0.5, 8.0, 8.0]
    reward = Loss("reward", heads=True)
    expected = -(torch.sigmoid(torch.tensor([1.0, -2.0, -3.0])) * torch.tensor([2.0, -1.0, 1.0])).sum() / 4
    assert reward(f, y).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error", "sum_squared_error", "reward"])
def test_the_losses_of_examples_sum_to_the_loss(name):
    g = torch.Generator().manual_seed(0)
    f = torch.randn(7, 3, generator=g)
    y = torch.arange(7) % 3 if name != "reward" else torch.randn(7, 3, generator=g)
    each = Loss(name).each(f, y)
    total = each.sum() if name == "sum_squared_error" else each.mean()
    assert each.shape == (7,)
    assert Loss(name)(f, y).item() == pytest.approx(total.item())


def test_a_masked_logit_is_a_softmax_of_exactly_zero():
    for dtype in (torch.float32, torch.float64):
        f = torch.tensor([[3.0, -300.0, OUTSIDE]], dtype=dtype)
        assert f.softmax(1)[0, 2] == 0
        inside = functional.cross_entropy(f[:, :2], torch.tensor([0]))
        assert functional.cross_entropy(f, torch.tensor([0])) == inside


def test_the_largest_of_several_values_is_the_answer():
    f, y = torch.tensor([[1.0, 2.0, OUTSIDE], [5.0, 0, OUTSIDE]]), torch.tensor([[0.0, 1, 9], [0, 1, 9]])
    assert accuracy(f, y, rule="argmax") == 0.5
    assert accuracy(f, y, rule="none").isnan()


def test_splits_of_values_with_heads_are_trained(make_task, make_learner):
    from clntk.streams.base import Task, TaskStream

    def values(task):
        return Task(
            task.name,
            *(Split(p.x, p.x[:, :1].sign()) for p in (task.train, task.test, task.probe)),
        )

    tasks = tuple(values(make_task(f"task{t}", seed=t)) for t in range(2))
    stream = multi_head(TaskStream(tasks, outputs=1, target="value", accuracy="sign", chance=0.5))
    learner = make_learner(stream, epochs=30, momentum=0.0)
    for phase in stream.phases:
        learner.train(phase)
    assert learner.evaluate(stream.tasks[1].train, 1)[1] > 0.9
