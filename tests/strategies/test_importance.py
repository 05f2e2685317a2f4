"""Importances of weights against their formulas, written out example by example; penalties against plain loops."""

import copy
from types import SimpleNamespace

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.nn import functional

from clntk.errors import DataError
from clntk.strategies.avalanche.fisher import FisherEWC, OutputMAS
from clntk.strategies.avalanche.path_integral import PathIntegral
from clntk.strategies.gradients import example_gradients
from clntk.streams.presentation import multi_head


def _plugin(learner, kind):
    return next(p for p in learner.strategy.plugins if isinstance(p, kind))


def _flat(parameters):
    return torch.cat([p.flatten() for p in parameters])


def _gradient(scalar, model):
    gradients = torch.autograd.grad(scalar, list(model.parameters()), retain_graph=True, allow_unused=True)
    pairs = zip(gradients, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def _fisher(model, data, loss, labels, head):
    """E_x E_y[(∂ log p(y|x)/∂θ)²], one example and one label at a time."""
    total = 0.0
    for x, y in zip(data.x, data.y, strict=True):
        f = model(x[None])[0, head]
        y = head.index(int(y))
        if labels == "data":
            target = functional.one_hot(torch.tensor(y), len(head))
            log_p = f.log_softmax(0)[y] if loss == "cross_entropy" else -0.5 * (f - target).square().sum()
            total = total + _gradient(log_p, model).square()
        elif loss == "cross_entropy":
            p = f.softmax(0).detach()
            total = total + sum(
                p[c] * _gradient(f.log_softmax(0)[c], model).square() for c in range(len(head))
            )
        else:  # y ~ N(f, 1): the score of output c is (y_c − f_c) ∂f_c, and E(y_c − f_c)² = 1
            total = total + sum(_gradient(f[c], model).square() for c in range(len(head)))
    return total / len(data)


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("labels", ["model", "data"])
def test_the_fisher_information_is_that_of_single_examples(labels, loss, heads, stream, make_learner):
    stream = multi_head(stream) if heads else stream
    learner = make_learner(stream, "ewc", fisher_labels=labels, loss=loss)
    learner.train(stream.phases[0])
    head = list(stream.heads[0]) if heads else [0, 1, 2, 3]
    expected = _fisher(learner.model, stream.tasks[0].train, loss, labels, head)
    found = _plugin(learner, FisherEWC).importances[0]
    torch.testing.assert_close(_flat(p.data for p in found.values()), expected, rtol=1e-4, atol=1e-7)
    assert expected.max() > 1e-3


def test_fishers_of_model_data_and_minibatches_differ(stream, make_learner):
    found = []
    for options in ({}, {"fisher_labels": "data"}, {"fisher": "minibatch"}):
        learner = make_learner(stream, "ewc", **options)
        learner.train(stream.phases[0])
        plugin = next(p for p in learner.strategy.plugins if hasattr(p, "importances"))
        found.append(_flat(p.data for p in plugin.importances[0].values()))
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])
    assert found[2].sum() < found[1].sum(), "minibatch means of gradients are smaller than the gradients"


def test_a_reward_has_no_likelihood(seeds, make_learner):
    from clntk import registry

    blobs = registry.get("stream", "context_blobs")(seeds)
    with pytest.raises(DataError, match="strategy ewc: expected a loss that is a log-likelihood"):
        make_learner(blobs, "ewc", loss="reward")
    make_learner(blobs, "ewc", loss="reward", fisher_labels="data")


@pytest.mark.parametrize("heads", [False, True])
def test_memory_aware_importances_are_means_of_absolute_values(heads, stream, make_learner):
    stream = multi_head(stream) if heads else stream
    learner = make_learner(stream, "mas")
    learner.train(stream.phases[0])
    head = list(stream.heads[0]) if heads else [0, 1, 2, 3]
    data = stream.tasks[0].train
    expected = sum(
        _gradient(learner.model(x[None])[0, head].square().sum(), learner.model).abs() for x in data.x
    ) / len(data)
    found = _plugin(learner, OutputMAS).importance
    torch.testing.assert_close(_flat(p.data for p in found.values()), expected, rtol=1e-4, atol=1e-6)


def test_importances_cover_frozen_parameters_with_zeros(stream, make_learner):
    learner = make_learner(stream, "ewc")
    learner.model.hidden1.requires_grad_(False)
    for phase in stream.phases[:2]:
        learner.train(phase)
    found = _plugin(learner, FisherEWC).importances[1]
    assert (found["hidden1.linear.weight"].data == 0).all()
    assert (found["readout.weight"].data > 0).any()


def test_networks_that_torch_cannot_vectorise_are_differentiated_one_by_one():
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0][:, -1]

    torch.manual_seed(0)
    network, x = Recurrent(), torch.randn(5, 6, 3)
    directions = torch.randn(5, 4)
    (rows,) = example_gradients(network, x, directions)
    for n in range(5):
        torch.testing.assert_close(rows[n], _gradient(network(x[n : n + 1])[0] @ directions[n], network))


class _Steps(SupervisedPlugin):
    """Of each step of a phase: minibatch, weights before and after, and the loss that was taken."""

    def before_forward(self, strategy, **kwargs):
        self._model = copy.deepcopy(strategy.model)

    def after_backward(self, strategy, **kwargs):
        self._loss = strategy.loss.item()

    def after_update(self, strategy, **kwargs):
        theta = _flat(strategy.model.parameters()).detach()
        self.seen.append((self._model, *strategy.mbatch[:2], theta, self._loss))

    def phases(self, learner):
        for phase in learner.stream.phases:
            self.seen = []
            learner.train(phase)
            yield self.seen


@pytest.mark.parametrize("name", ["ewc", "mas"])
def test_the_loss_grows_by_the_penalty(name, stream, make_learner):
    """Of each earlier phase with its own anchor, or of all with the last one and α = ¼ of the old importances."""
    watch, terms = _Steps(), []
    strength = {"ewc": 0.7, "mas": 0.07}[name]
    options = {"mas_alpha": 0.25} if name == "mas" else {}
    options[f"{name}_lambda"] = strength
    learner = make_learner(stream, name, plugins=(watch,), **options)
    for done, steps in enumerate(watch.phases(learner)):
        for model, x, y, _, loss in steps:
            here = _flat(model.parameters())
            penalty = sum((held * (here - anchor).square()).sum() for held, anchor in terms)
            expected = functional.cross_entropy(model(x), y) + strength * penalty
            assert loss == pytest.approx(expected.item(), rel=1e-5)
        end, data = _flat(learner.model.parameters()).detach(), stream.tasks[done].train
        if name == "ewc":
            terms.append((_fisher(learner.model, data, "cross_entropy", "model", [0, 1, 2, 3]), end))
            continue
        squares = [learner.model(x[None]).square().sum() for x in data.x]
        held = sum(_gradient(square, learner.model).abs() for square in squares) / len(data)
        terms = [(0.25 * terms[0][0] + 0.75 * held if terms else held, end)]


# --- synaptic intelligence --------------------------------------------------------------------------------


def _si_by_hand(model, stream, *, c, xi, steps, lr):
    """Full-batch gradient descent with the path integral, one flat vector at a time."""
    theta = list(model.parameters())
    held, anchor = torch.zeros_like(_flat(theta)), _flat(theta).detach().clone()
    for phase in stream.phases:
        data, _ = stream.phase_data(phase)
        credit = torch.zeros_like(held)
        for _ in range(steps):
            g = _gradient(functional.cross_entropy(model(data.x), data.y), model)
            now = _flat(theta).detach()
            step = -lr * (g + 2 * c * held * (now - anchor))
            credit -= g * step
            with torch.no_grad():
                for p, part in zip(theta, (now + step).split([p.numel() for p in theta]), strict=True):
                    p.copy_(part.view_as(p))
        end = _flat(theta).detach().clone()
        held = (held + credit / ((end - anchor).square() + xi)).clamp(min=0)
        anchor = end
    return _flat(theta).detach()


def test_synaptic_intelligence_is_its_path_integral(stream, make_learner, make_model, weights_of):
    options = {"c": 1.0, "xi": 0.01}
    expected = _si_by_hand(make_model(stream), stream, steps=10, lr=0.05, **options)
    learner = make_learner(stream, "si", batch_size=None, epochs=10, momentum=0.0, si_c=1.0, si_xi=0.01)
    plain = make_learner(stream, "naive", batch_size=None, epochs=10, momentum=0.0)
    for phase in stream.phases:
        learner.train(phase)
        plain.train(phase)
    found, naive = _flat(weights_of(learner.model)), _flat(weights_of(plain.model))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - naive).abs().max() > 1e-2


def test_a_weight_that_raised_the_loss_is_not_pushed_away():
    plugin, strategy = PathIntegral(1.0, xi=0.5), SimpleNamespace(model=torch.nn.Linear(2, 1, bias=False))
    plugin.before_training_exp(strategy)
    plugin._credit[0].copy_(torch.tensor([[-3.0, 4.0]]))
    plugin.after_training_exp(strategy)
    assert plugin.importance[0].tolist() == [[0.0, 8.0]]


def test_without_strength_synaptic_intelligence_is_naive(stream, make_learner, weights_of, same):
    def run(name, **options):
        learner = make_learner(stream, name, **options)
        for phase in stream.phases:
            learner.train(phase)
        return weights_of(learner.model)

    assert same(run("si", si_c=0.0), run("naive"))


# --- riemannian walk --------------------------------------------------------------------------------------


def test_riemannian_walk_counts_the_last_interval_and_stays_finite(stream, make_learner):
    """The 8 steps of a phase are less than one interval: Avalanche's own scores are 0/0 here."""
    learner = make_learner(stream, "rwalk", rwalk_interval=100, momentum=0.0)
    learner.train(stream.phases[0])
    plugin = next(p for p in learner.strategy.plugins if hasattr(p, "exp_penalties"))
    penalties = _flat(p.data for p in plugin.exp_penalties.values())
    assert torch.isfinite(penalties).all()
    assert 1 < penalties.max() <= 2, "importance and score are each at most 1"
    assert penalties.min() >= 0


@pytest.mark.parametrize("interval", [3, 100])
def test_riemannian_walk_is_its_formula_step_by_step(interval, stream, make_learner):
    """With momentum, so that steps are not along the gradients that they are credited with."""
    watch, tiny = _Steps(), torch.finfo(torch.float32).eps
    learner = make_learner(
        stream, "rwalk", plugins=(watch,), rwalk_interval=interval, rwalk_lambda=0.7, epochs=4
    )
    fisher = score = penalty = 0.0
    anchor, taken = None, 0
    for done, steps in enumerate(watch.phases(learner)):
        checkpoint, lowered, scores = _flat(steps[0][0].parameters()).detach(), 0.0, 0.0
        for k, (model, x, y, after, loss) in enumerate(steps, start=1):
            own = functional.cross_entropy(model(x), y)
            g, before = _gradient(own, model), _flat(model.parameters()).detach()
            moved = 0.0 if anchor is None else (penalty * (before - anchor).square()).sum()
            assert loss == pytest.approx(float(own.detach() + 0.7 * moved), rel=1e-5)
            taken += 1
            fisher = g.square() if taken == 1 else 0.9 * g.square() + 0.1 * fisher
            lowered = lowered - g * (after - before)
            if taken % interval == 0 or k == len(steps):
                scores = scores + lowered / (0.5 * fisher * (after - checkpoint).square() + tiny)
                checkpoint, lowered = after, 0.0
        score = scores if done == 0 else (score + scores) / 2
        positive = score.clamp(min=0)
        penalty, anchor = fisher / fisher.max() + positive / positive.max(), steps[-1][3]
        plugin = next(p for p in learner.strategy.plugins if hasattr(p, "exp_penalties"))
        torch.testing.assert_close(_flat(p.data for p in plugin.exp_penalties.values()), penalty)


@pytest.mark.parametrize("name", ["rwalk", "ewc", "mas", "ogd", "gpm", "der"])
def test_the_network_is_left_in_training_mode(name, stream, make_learner):
    from avalanche.core import SupervisedPlugin

    modes = []

    class Watch(SupervisedPlugin):
        def before_forward(self, strategy, **kwargs):
            modes.append(strategy.model.training)

    learner = make_learner(stream, name, plugins=(Watch(),))
    for phase in stream.phases[:2]:
        learner.train(phase)
    assert all(modes)
