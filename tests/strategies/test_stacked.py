"""Networks trained as one batched computation, against the same networks trained one by one."""

import copy

import pytest
import torch
from torch import nn

from clntk import registry
from clntk.regimes.output_scale import output_scale
from clntk.shape import TaskShape
from clntk.strategies.stacked import NotAlike, Stack, architecture, step_rule
from clntk.strategies.training import Loss

N = 4
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}


def perceptron(outputs):
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, outputs))


def seeded(make):
    models = []
    for seed in range(N):
        torch.manual_seed(seed)
        models.append(make())
    return models


def sgd(model):
    return torch.optim.SGD(model.parameters(), **SGD)


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.01)


def batches(steps, shape, outputs, dtype):
    g = torch.Generator().manual_seed(9)
    x = torch.randn(steps, N, 13, *shape, generator=g)
    if dtype == torch.long:
        return x, torch.randint(outputs, (steps, N, 13), generator=g)
    return x, torch.randn(steps, N, 13, outputs, generator=g)


def one_by_one(models, optimizer, loss, x, y):
    """Losses (steps × models) of plain training; the models end up trained."""
    losses = torch.empty(x.shape[:2])
    for i, model in enumerate(models):
        steps = optimizer(model)
        for k in range(len(x)):
            steps.zero_grad()
            value = loss(model(x[k, i]), y[k, i])
            value.backward()
            steps.step()
            losses[k, i] = value.detach()
    return losses


def largest(f, y):
    return f.max()


def stacked(models, optimizer, loss):
    return Stack(models, [optimizer(m) for m in models], loss, largest)


def farthest(models, others):
    return max(
        float((p - q).detach().abs().max())
        for a, b in zip(models, others, strict=True)
        for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize(
    ("outputs", "loss", "dtype"),
    [
        (5, "cross_entropy", torch.long),
        (5, "squared_error", torch.long),
        (1, "sum_squared_error", torch.float32),
        (2, "reward", torch.float32),
    ],
)
def test_training_together_is_training_one_by_one(optimizer, outputs, loss, dtype):
    models = seeded(lambda: perceptron(outputs))
    alone = copy.deepcopy(models)
    x, y = batches(7, (6,), outputs, dtype)
    expected = one_by_one(alone, optimizer, Loss(loss), x, y)
    stack = stacked(models, optimizer, Loss(loss))
    best = [model(x[0, i]).max().item() for i, model in enumerate(models)]
    steps = [stack.step(x[k], y[k]) for k in range(len(x))]
    found = torch.stack([losses for losses, _ in steps])
    assert steps[0][1].tolist() == pytest.approx(best, rel=1e-5)
    for i in range(N):
        stack.write_back(i)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert farthest(models, alone) <= 1e-6
    assert farthest(models, seeded(lambda: perceptron(outputs))) > 1e-3


def test_the_optimizers_states_come_along_and_go_back():
    models, x_y = seeded(lambda: perceptron(3)), batches(6, (6,), 3, torch.long)
    alone = copy.deepcopy(models)
    optimizers = [adam(m) for m in alone]
    x, y = x_y

    def plain(k):
        for i, (model, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            optimizer.zero_grad()
            Loss("cross_entropy")(model(x[k, i]), y[k, i]).backward()
            optimizer.step()

    mine = [adam(m) for m in models]
    for start in (0, 3):  # a stack of its own for each half
        stack = Stack(models, mine, Loss("cross_entropy"), largest)
        for k in range(start, start + 3):
            plain(k)
            stack.step(x[k], y[k])
        for i in range(N):
            stack.write_back(i)
    assert farthest(models, alone) <= 1e-6
    states = [o.state_dict()["state"] for o in (mine[1], optimizers[1])]
    assert states[0].keys() == states[1].keys()
    for key, expected in states[1].items():
        for name, value in expected.items():
            torch.testing.assert_close(states[0][key][name], value, rtol=1e-5, atol=1e-7)
    mine[1].load_state_dict(optimizers[1].state_dict())


def test_those_that_are_let_go_keep_what_they_had_and_the_others_go_on():
    models, (x, y) = seeded(lambda: perceptron(3)), batches(5, (6,), 3, torch.long)
    alone = copy.deepcopy(models)
    one_by_one([alone[0], alone[3]], sgd, Loss("cross_entropy"), x[:2, [0, 3]], y[:2, [0, 3]])
    one_by_one(alone[1:3], sgd, Loss("cross_entropy"), x[:, 1:3], y[:, 1:3])
    stack = stacked(models, sgd, Loss("cross_entropy"))
    for k in range(2):
        stack.step(x[k], y[k])
    stack.write_back(0)
    stack.write_back(3)
    stack.keep(torch.tensor([1, 2]))
    assert stack.members == [1, 2]
    for k in range(2, 5):
        stack.step(x[k, 1:3], y[k, 1:3])
    stack.write_back(0)
    stack.write_back(1)
    assert farthest(models, alone) <= 1e-6


def test_the_loss_of_looking_is_that_of_eval_mode_and_changes_nothing():
    models, (x, y) = seeded(lambda: perceptron(3)), batches(1, (6,), 3, torch.long)
    before = copy.deepcopy(models)
    stack = stacked(models, sgd, Loss("cross_entropy"))
    expected = [Loss("cross_entropy")(m(x[0, i]), y[0, i]).item() for i, m in enumerate(before)]
    assert stack.losses(x[0], y[0]).tolist() == pytest.approx(expected, rel=1e-6)
    assert farthest(models, before) == 0
    assert all(m.training for model in models for m in model.modules())


INPUTS = {"cnn": (1, 8, 8), "resnet": (1, 8, 8), "rnn": (5, 3), "transformer": (1, 8, 8)}
OPTIONS = {"resnet": {"norm": "group", "width": 1}}


@pytest.mark.parametrize("name", [n for n in registry.names("model") if n != "custom"])
def test_registered_models_train_together(name):
    shape = TaskShape(inputs=INPUTS.get(name, (6,)), outputs=4)
    models = seeded(lambda: registry.get("model", name)(shape, **OPTIONS.get(name, {})))
    alone = copy.deepcopy(models)
    x, y = batches(3, shape.inputs, 4, torch.long)
    one_by_one(alone, sgd, Loss("cross_entropy"), x, y)
    assert len({architecture(m) for m in models}) == 1
    stack = stacked(models, sgd, Loss("cross_entropy"))
    stack.check(x[0], y[0])
    for k in range(3):
        stack.step(x[k], y[k])
    for i in range(N):
        stack.write_back(i)
    assert farthest(models, alone) <= 1e-6


class Hidden(nn.Module):
    """A network that hides its scale where nobody looks."""

    def __init__(self, scale):
        super().__init__()
        self.layer, self.scales = nn.Linear(6, 3), [scale]

    def forward(self, x):
        return self.scales[0] * self.layer(x)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.spare = nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: [Hidden(1.0), Hidden(1.0), Hidden(2.0), Hidden(1.0)], "comes out differently"),
        (lambda: seeded(Unused), "the loss does not depend on spare.weight"),
        (lambda: seeded(Branching), "data-dependent control flow"),
    ],
)
def test_what_cannot_be_seen_beforehand_is_found_by_the_check(make, why):
    models, (x, y) = make(), batches(1, (6,), 3, torch.long)
    assert len({architecture(m) for m in models}) == 1
    with pytest.raises(NotAlike, match=why):
        stacked(models, sgd, Loss("cross_entropy")).check(x[0], y[0])


@pytest.mark.parametrize("module", [nn.Dropout(0.1), nn.BatchNorm1d(6)])
def test_networks_that_draw_or_change_with_examples_go_alone(module):
    with pytest.raises(NotAlike, match=type(module).__name__):
        architecture(nn.Sequential(module, nn.Linear(6, 2)))


def test_optimizers_that_do_not_act_number_by_number_go_alone():
    model = perceptron(2)
    with pytest.raises(NotAlike, match="LBFGS"):
        step_rule(torch.optim.LBFGS(model.parameters()), model)


def test_networks_are_told_apart():
    shape = TaskShape(inputs=(6,), outputs=2)
    base = perceptron(2)
    frozen = perceptron(2).requires_grad_(False)
    others = [
        perceptron(3),
        frozen,
        perceptron(2).double(),
        perceptron(2).eval(),
        nn.Sequential(*base, nn.Identity()),
    ]
    assert all(architecture(other) != architecture(base) for other in others)
    scaled = [output_scale(perceptron(2), shape, alpha=a).model for a in (1.0, 2.0, 1.0)]
    assert architecture(scaled[0]) == architecture(scaled[2]) != architecture(scaled[1])


def test_optimizers_are_told_apart():
    def rule(steps=0, **options):
        model = perceptron(2)
        optimizer = torch.optim.Adam(model.parameters(), **options)
        for _ in range(steps):
            model(torch.ones(1, 6)).sum().backward()
            optimizer.step()
        return step_rule(optimizer, model)

    assert rule(lr=0.1) == rule(lr=0.1)
    assert rule(2, lr=0.1) == rule(2, lr=0.1)
    different = [rule(lr=0.1), rule(lr=0.2), rule(2, lr=0.1), rule(3, lr=0.1), rule(lr=0.1, weight_decay=0.1)]
    assert len(set(different)) == len(different)
