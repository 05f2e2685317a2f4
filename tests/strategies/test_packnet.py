"""PackNet: what a task has learned is its own for good, to the bit."""

import copy

import pytest
import torch
from torch import nn

import clntk
from clntk import registry
from clntk.errors import DataError
from clntk.strategies.avalanche.packing import smallest
from clntk.strategies.learner import Setup
from clntk.streams.presentation import multi_head

OPTIMIZERS = [
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "adam", "momentum": 0.0, "weight_decay": 0.1, "lr": 0.01},
]


def _answers(learner, stream, tasks):
    model = learner.strategy.model
    return [model(stream.tasks[t].test.x, torch.full((24,), t)).detach() for t in tasks]


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("options", OPTIMIZERS)
def test_outputs_of_finished_tasks_never_change(options, heads, stream, make_learner):
    stream = multi_head(stream) if heads else stream
    learner = make_learner(stream, "packnet", **options)
    finished = []
    for k, phase in enumerate(stream.phases):
        before = [p.detach().clone() for p in learner.model.parameters()]
        learner.train(phase)
        assert all(
            torch.equal(a, b) for a, b in zip(_answers(learner, stream, range(k)), finished, strict=True)
        )
        finished = _answers(learner, stream, range(k + 1))
        assert any(not torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))


def test_each_task_keeps_the_largest_of_the_free_weights(stream, make_learner):
    learner = make_learner(stream, "packnet", prune=0.75, momentum=0.0)
    layer, n = learner.model.hidden1.linear, 16 * 12
    free = n
    for k, phase in enumerate(stream.phases):
        learner.train(phase)
        kept = free - int(0.75 * free)
        assert int((layer.owner == k).sum()) == kept
        free -= kept
        assert int((layer.owner == 3).sum()) == free
        assert (layer.weight[layer.owner == 3] == 0).all()
        assert (layer.weight[layer.owner == k] != 0).all()
    assert layer.rank.tolist() == [0, 1, 2]


def test_pruning_takes_the_smallest_among_the_free():
    weight = torch.tensor([[0.1, -3.0, 0.2], [-0.05, 0.3, 0.0]])
    among = torch.tensor([[True, True, True], [True, True, False]])
    assert smallest(weight, among, 0.5).tolist() == [[True, False, False], [True, False, False]]
    assert not smallest(weight, among, 0.1).any()


def test_a_finished_task_sees_its_own_and_earlier_weights(stream, make_learner):
    learner = make_learner(stream, "packnet")
    for phase in stream.phases:
        learner.train(phase)
    model = learner.model
    for t in range(3):
        hidden, readout = model.hidden1.linear, model.readout
        x = stream.tasks[t].test.x
        h = (x @ (hidden.weight * (hidden.owner <= t)).T + hidden.bias).relu()
        expected = h @ (readout.weight * (readout.owner <= t)).T + readout.bias
        torch.testing.assert_close(_answers(learner, stream, [t])[0], expected.detach())


def test_biases_are_fixed_after_the_first_task(stream, make_learner):
    learner = make_learner(stream, "packnet")
    biases = []
    for phase in stream.phases:
        learner.train(phase)
        biases.append(learner.model.readout.bias.detach().clone())
    assert torch.equal(biases[0], biases[1])
    assert torch.equal(biases[1], biases[2])
    assert biases[0].abs().max() > 0


def test_a_phase_has_its_epochs_and_those_after_pruning(stream, make_learner):
    learner = make_learner(stream, "packnet", epochs=2, retrain_epochs=3)
    for k, phase in enumerate(stream.phases, start=1):
        learner.train(phase)
        assert learner.steps == k * 5 * 4  # 50 examples are 4 minibatches of 16


def test_facts_are_those_of_each_task_under_its_own_weights(stream, make_learner):
    learner = make_learner(stream, "packnet")
    for phase in stream.phases[:2]:
        learner.train(phase)
    inputs = learner.with_tasks({task.name: task.probe.x for task in stream.tasks})
    capture = clntk.Capture(learner.model, inputs=inputs)
    capture("now", step=0)
    facts = capture.facts()
    outputs = torch.as_tensor(facts["outputs/outputs"].isel(checkpoint=0).values)
    rows = []
    twin = copy.deepcopy(learner.model).double()
    for t, task in enumerate(stream.tasks):
        expected = learner.strategy.model(task.probe.x, torch.full((6,), t)).detach()
        torch.testing.assert_close(outputs[t], expected)
        for example in inputs[task.name].double():
            gradients = [
                torch.autograd.grad(logit, list(twin.parameters()), retain_graph=True)
                for logit in twin(example[None])[0]
            ]
            rows.append(torch.stack([torch.cat([g.flatten() for g in one]) for one in gradients]))
    j = torch.stack(rows)
    expected = torch.einsum("ncp,mcp->nm", j, j).reshape(3, 6, 3, 6).transpose(1, 2)
    found = torch.as_tensor(facts["kernels/kernels"].isel(checkpoint=0).values)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_convolutions_are_packed(make_task):
    from clntk.streams.base import Split, Task, TaskStream

    def images(task):
        return Task(task.name, *(Split(p.x.reshape(-1, 1, 3, 4), p.y) for p in task.parts.values()))

    stream = TaskStream(tuple(images(make_task(f"t{k}", seed=k)) for k in range(2)), outputs=4)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    learner = registry.get("strategy", "packnet")(Setup(network, stream), epochs=2, batch_size=16)
    learner.train(stream.phases[0])
    before = _answers(learner, stream, [0])[0]
    learner.train(stream.phases[1])
    assert torch.equal(_answers(learner, stream, [0])[0], before)
    mixed = torch.cat(list(learner.with_tasks({t.name: t.test.x for t in stream.tasks}).values()))
    torch.testing.assert_close(network(mixed), torch.cat(_answers(learner, stream, [0, 1])))


@pytest.mark.parametrize(
    ("options", "schedule", "why"),
    [
        ({"stop_loss": 0.1}, "blocked", "expected a fixed number of epochs, found stop_loss 0.1"),
        ({}, "joint", "expected one phase for each task, found the phases joint"),
        ({}, "cyclic", "expected one phase for each task, found the phases task0, task1, task2, task0.2"),
    ],
)
def test_what_cannot_be_packed_is_refused(options, schedule, why, stream, make_learner):
    with pytest.raises(DataError, match=f"strategy packnet: {why}"):
        make_learner(stream.scheduled(schedule), "packnet", **options)


def test_a_network_with_a_copy_of_itself_is_refused(stream, make_model):
    centred = registry.get("regime", "output_scale")(make_model(stream), stream.shape).model
    with pytest.raises(DataError, match="expected a network without a frozen copy of itself"):
        registry.get("strategy", "packnet")(Setup(centred, stream))
