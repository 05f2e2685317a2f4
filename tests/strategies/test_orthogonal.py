"""Steps orthogonal to what earlier outputs depend on: exact where the network is linear."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clntk import registry
from clntk.errors import DataError
from clntk.strategies.avalanche.gradient_basis import GradientBasis
from clntk.strategies.avalanche.input_basis import InputBasis, grown, inputs_of
from clntk.strategies.directions import extended, principal
from clntk.strategies.gradients import unflat
from clntk.strategies.learner import Setup
from clntk.streams.presentation import multi_head

OPTIMIZERS = [
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"optimizer": "adam", "momentum": 0.0, "lr": 0.01},
]


def _plugin(learner, kind):
    return next(p for p in learner.strategy.plugins if isinstance(p, kind))


def _flat(parameters):
    return torch.cat([p.detach().flatten() for p in parameters])


def _linear_learner(stream, name, **options):
    torch.manual_seed(0)
    network = nn.Linear(12, stream.outputs)
    strategy = registry.get("strategy", name)
    learner = strategy(Setup(network, stream), **{"epochs": 3, "batch_size": 16, "lr": 0.05, **options})
    torch.manual_seed(1)
    return learner


# --- bases ------------------------------------------------------------------------------------------------


def _rows(rows, columns, seed, rank=None):
    g = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, columns, generator=g)
    return torch.randn(rows, rank, generator=g) @ torch.randn(rank, columns, generator=g)


@settings(max_examples=30, deadline=None)
@given(old=st.integers(0, 6), new=st.integers(1, 8), rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_an_extended_basis_is_orthonormal_and_spans_both(old, new, rank, seed):
    basis = None if old == 0 else torch.linalg.qr(_rows(12, old, seed)).Q.T
    more = _rows(new, 12, seed + 1, rank) * 10.0 ** (seed % 5 - 2)
    both = extended(basis, more)
    assert torch.allclose(both @ both.T, torch.eye(len(both)), atol=1e-5)
    assert len(both) == min(12, old + min(new, rank))
    torch.testing.assert_close((more @ both.T) @ both, more, rtol=1e-3, atol=1e-3 * float(more.abs().max()))
    if basis is not None:
        assert torch.equal(both[:old], basis)


def test_what_lies_in_the_basis_or_is_zero_adds_nothing():
    basis = torch.eye(5)[:2]
    assert torch.equal(extended(basis, torch.tensor([[3.0, -1, 0, 0, 0], [0, 0, 0, 0, 0]])), basis)


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 1.0), rank=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_grown_basis_is_the_smallest_that_holds_its_share(share, rank, seed):
    first, second = _rows(6, 20, seed, rank), _rows(6, 15, seed + 1, rank)
    basis = grown(None, first, share)
    for before, inputs in ((None, first), (basis, second)):
        after = grown(before, inputs, share)
        old = 0 if before is None else before.shape[1]
        held = [float((m.T @ inputs).square().sum() / inputs.square().sum()) for m in (after, after[:, :-1])]
        assert torch.allclose(after.T @ after, torch.eye(after.shape[1]), atol=1e-4)
        assert held[0] >= share - 1e-5
        if after.shape[1] > old:
            assert held[1] < share + 1e-5, "one direction fewer would not have done"


# --- orthogonal gradient descent --------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIMIZERS)
@pytest.mark.parametrize("name", ["ogd", "pca_ogd"])
def test_every_step_is_orthogonal_to_the_basis(name, options, stream, make_learner):
    learner = make_learner(stream, name, **options, gradients=30)
    learner.train(stream.phases[0])
    basis = _plugin(learner, GradientBasis).basis.clone()
    before = _flat(learner.model.parameters())
    learner.train(stream.phases[1])
    step = _flat(learner.model.parameters()) - before
    assert step.norm() > 0.01
    assert (basis @ step).abs().max() < 1e-4 * step.norm()


def test_without_momentum_the_step_is_that_of_the_projected_gradient(stream, make_learner):
    learner = make_learner(stream, "ogd", batch_size=None, epochs=1, momentum=0.0)
    learner.train(stream.phases[0])
    basis = _plugin(learner, GradientBasis).basis.clone()
    data, _ = stream.phase_data(stream.phases[1])
    parameters = list(learner.model.parameters())
    g = _flat(torch.autograd.grad(nn.functional.cross_entropy(learner.model(data.x), data.y), parameters))
    expected = _flat(parameters) - 0.05 * (g - basis.T @ (basis @ g))
    learner.train(stream.phases[1])
    torch.testing.assert_close(_flat(learner.model.parameters()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", OPTIMIZERS)
def test_a_linear_network_keeps_the_stored_logits_to_the_last_digit(options, stream):
    """Its gradients never change, so that what holds to first order holds: 12 inputs and a bias leave no way out."""
    learner = _linear_learner(stream, "ogd", gradients=13, **options)
    learner.train(stream.phases[0])
    x = stream.tasks[0].train.x
    before = learner.model(x).detach()
    for phase in stream.phases[1:]:
        learner.train(phase)
    after = learner.model(x).detach()
    basis = _plugin(learner, GradientBasis).basis
    kept = torch.zeros_like(before, dtype=torch.bool)
    for n in range(len(x)):
        for c in range(4):  # a logit is kept if its gradient is in the basis
            g = torch.zeros(4, 13)
            g[c] = torch.cat([x[n], torch.ones(1)])
            g = torch.cat([g[:, :12].flatten(), g[:, 12]])
            first = basis[:13]
            kept[n, c] = (g - first.T @ (first @ g)).norm() < 1e-4 * g.norm()
    assert 10 <= kept.sum() <= 200
    torch.testing.assert_close(after[kept], before[kept], rtol=1e-3, atol=1e-4)
    assert (after - before).abs().max() > 0.05


def test_stored_gradients_are_those_of_the_chosen_logits(stream, make_learner):
    task = stream.tasks[0].train
    counts = {}
    for which in ("ground_truth", "all"):
        learner = make_learner(stream, "ogd", gradients=10_000, logits=which)
        learner.train(stream.phases[0])
        basis, model = _plugin(learner, GradientBasis).basis, learner.model
        counts[which] = len(basis)
        for n in range(5):
            for c in range(4):
                g = _flat(torch.autograd.grad(model(task.x[n : n + 1])[0, c], list(model.parameters())))
                left = (g - basis.T @ (basis @ g)).norm() / g.norm()
                inside = which == "all" or c == int(task.y[n])
                assert (left < 1e-3) == inside
    assert counts["ground_truth"] < counts["all"]


def test_principal_gradients_are_the_leading_singular_vectors(stream, make_learner):
    learner = make_learner(stream, "pca_ogd", gradients=5, pca_samples=10_000)
    learner.train(stream.phases[0])
    model, task = learner.model, stream.tasks[0].train
    rows = torch.stack(
        [
            _flat(torch.autograd.grad(model(x[None])[0, int(y)], list(model.parameters())))
            for x, y in zip(task.x, task.y, strict=True)
        ]
    )
    expected = torch.linalg.svd(rows, full_matrices=False).Vh[:5]
    found = _plugin(learner, GradientBasis).basis
    assert found.shape == expected.shape
    torch.testing.assert_close(found.T @ found, expected.T @ expected, rtol=1e-2, atol=1e-3)


def test_no_more_directions_join_than_the_gradients_span(make_task):
    """Inputs in a plane and a bias: 3 dimensions for each logit. Others would only take room from later tasks."""
    from clntk.streams.base import Split, Task, TaskStream

    plane = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))

    def flattened(task):
        return Task(task.name, *(Split(p.x[:, :2] @ plane, p.y) for p in task.parts.values()))

    stream = TaskStream((flattened(make_task("flat")), make_task("full", seed=1)), outputs=4)
    learner = _linear_learner(stream, "pca_ogd", gradients=40)
    learner.train(stream.phases[0])
    assert len(_plugin(learner, GradientBasis).basis) == 3 * 4
    other = torch.zeros(3, 5)
    assert principal(other, 2).shape == (0, 5)
    assert len(extended(torch.eye(5)[:2], principal(other, 2))) == 2


def test_with_heads_only_logits_inside_are_stored(stream, make_learner):
    headed = multi_head(stream)
    learner = make_learner(headed, "ogd", logits="all", gradients=10_000)
    learner.train(headed.phases[0])
    names = [n for n, _ in learner.model.named_parameters()]
    basis = _plugin(learner, GradientBasis).basis
    like = list(learner.model.parameters())
    readouts = [unflat(row, like)[names.index("readout.weight")] for row in basis]
    rows = torch.stack(readouts).abs().sum((0, 2))
    assert (rows[:4] > 0).all()
    assert (rows[4:] == 0).all()


# --- gradient projection memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIMIZERS)
def test_layers_do_not_answer_differently_to_inputs_in_their_basis(options, stream, make_learner):
    learner = make_learner(stream, "gpm", gpm_threshold=0.9, **options)
    learner.train(stream.phases[0])
    bases = {name: b.clone() for name, b in _plugin(learner, InputBasis).bases.items()}
    assert list(bases) == ["hidden1.linear", "readout"]

    def answers():
        out = {}
        for name, basis in bases.items():
            layer = learner.model.get_submodule(name)
            out[name] = torch.cat([layer.weight, layer.bias[:, None]], 1).detach() @ basis
        return out

    before = answers()
    learner.train(stream.phases[1])
    for name, after in answers().items():
        torch.testing.assert_close(after, before[name], rtol=1e-4, atol=1e-4)


def test_all_of_a_layers_inputs_in_the_basis_leave_nothing_to_learn(stream, make_learner, weights_of):
    learner = make_learner(stream, "gpm", gpm_threshold=1.0, gpm_samples=50, momentum=0.0)
    learner.train(stream.phases[0])
    before = weights_of(learner.model)
    learner.train(stream.phases[1])
    first = (weights_of(learner.model)[0] - before[0]).abs().max()
    assert first < 1e-5, "50 examples span all 12 inputs and the bias"


def test_the_share_grows_with_each_phase(stream, make_learner, monkeypatch):
    from clntk.strategies.avalanche import input_basis

    shares = []

    def watched(basis, inputs, share):
        shares.append(share)
        return grown(basis, inputs, share)

    monkeypatch.setattr(input_basis, "grown", watched)
    learner = make_learner(stream, "gpm", gpm_threshold=0.8, gpm_increase=0.15)
    for phase in stream.phases:
        learner.train(phase)
    assert shares == pytest.approx([0.8, 0.8, 0.95, 0.95, 1.0, 1.0])  # of two layers each


def test_read_outs_with_rows_of_their_own_are_left_free(stream, make_learner):
    headed = multi_head(stream)
    learner = make_learner(headed, "gpm")
    learner.train(headed.phases[0])
    (only,) = _plugin(learner, InputBasis).bases
    assert only.endswith("hidden1.linear")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(2, 3, 3, padding=1, stride=2), (2, 6, 6)),
        (nn.Conv2d(2, 3, (3, 2), dilation=2, bias=False), (2, 7, 6)),
        (nn.Conv1d(2, 3, 3, padding=2), (2, 7)),
        (nn.Linear(5, 3), (5,)),
        (nn.Linear(5, 3), (4, 5)),
    ],
)
def test_a_layers_output_is_its_weight_times_its_inputs(layer, shape):
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    inputs = inputs_of({"layer": layer}, nn.Sequential(layer), x)["layer"]
    weight = layer.weight.flatten(1)
    if layer.bias is not None:
        weight = torch.cat([weight, layer.bias[:, None]], dim=1)
    out = layer(x)
    by_position = (
        out.reshape(-1, 3) if isinstance(layer, nn.Linear) else out.flatten(2).transpose(1, 2).flatten(0, 1)
    )
    torch.testing.assert_close((weight @ inputs).T, by_position)


def test_convolutions_are_projected_too(make_task):
    from dataclasses import replace

    from clntk.streams.base import Split, Task, TaskStream

    def images(task):
        return Task(task.name, *(Split(p.x.reshape(-1, 1, 3, 4), p.y) for p in task.parts.values()))

    stream = TaskStream(tuple(images(make_task(f"t{k}", seed=k)) for k in range(2)), outputs=4)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    learner = registry.get("strategy", "gpm")(
        Setup(network, stream), epochs=2, batch_size=16, gpm_threshold=0.7
    )
    learner.train(stream.phases[0])
    basis = _plugin(learner, InputBasis).bases["0"]
    before = torch.cat([network[0].weight.flatten(1), network[0].bias[:, None]], 1).detach()
    learner.train(stream.phases[1])
    step = torch.cat([network[0].weight.flatten(1), network[0].bias[:, None]], 1).detach() - before
    assert step.norm() > 1e-3
    assert (step @ basis).abs().max() < 1e-5
    grouped = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(8, 4))
    with pytest.raises(
        DataError, match="strategy gpm: expected trained weights in linear layers and plain conv"
    ):
        registry.get("strategy", "gpm")(replace(Setup(network, stream), model=grouped))
