"""The quadratic programme of gradient episodic memory, against a general solver and its own conditions."""

import random

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.nn import functional

from clntk import registry
from clntk.errors import DataError
from clntk.strategies.learner import Setup
from clntk.strategies.quadratic import RIDGE, gem_projection


def _flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def _case(tasks, size, seed):
    g = np.random.default_rng(seed)
    return g.normal(size=(tasks, size)), g.normal(size=size)


@settings(max_examples=25, deadline=None)
@given(tasks=st.integers(1, 5), seed=st.integers(0, 999), margin=st.floats(0, 1))
def test_the_projection_minimises_the_dual(tasks, seed, margin):
    memory, g = _case(tasks, 9, seed)
    gram = memory @ memory.T
    gram += RIDGE * np.diag(gram.diagonal())
    found = minimize(
        lambda v: 0.5 * v @ gram @ v + (memory @ g) @ v,
        np.full(tasks, margin + 1.0),
        jac=lambda v: gram @ v + memory @ g,
        bounds=[(margin, None)] * tasks,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-12},
    )
    np.testing.assert_allclose(gem_projection(memory, g, margin), memory.T @ found.x + g, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(tasks=st.integers(1, 5), seed=st.integers(0, 999))
def test_no_stored_loss_rises_along_the_projection(tasks, seed):
    memory, g = _case(tasks, 40, seed)
    projected = gem_projection(memory, g, 0.0)
    assert (memory @ projected >= -0.05).all()  # to the ridge, against products of about 40
    if (memory @ g >= 0).all():
        np.testing.assert_allclose(projected, g)


@settings(max_examples=25, deadline=None)
@given(tasks=st.integers(1, 4), seed=st.integers(0, 999), exponent=st.integers(-6, 3), margin=st.floats(0, 1))
def test_how_long_gradients_are_does_not_matter(tasks, seed, exponent, margin):
    """A regime that scales all outputs scales all gradients: what is protected must not depend on it."""
    memory, g = _case(tasks, 9, seed)
    scale = 10.0**exponent
    expected = scale * gem_projection(memory, g, margin)
    np.testing.assert_allclose(
        gem_projection(scale * memory, scale * g, margin), expected, rtol=1e-6, atol=1e-9 * scale
    )


def test_each_gradient_is_protected_at_its_own_length_and_none_may_be_zero():
    g = np.array([-1.0, -1.0, -1.0])
    memory = np.array([[100.0, 0, 0], [0, 1e-4, 0], [0, 0, 0]])
    np.testing.assert_allclose(gem_projection(memory, g, 0.0), [0, 0, -1], atol=2e-3)


class _Gradients(SupervisedPlugin):
    """The gradient that reaches the optimizer, and those of the losses on the stored examples."""

    def __init__(self):
        super().__init__()
        self.pairs = []

    def before_update(self, strategy, **kwargs):
        memory = next(p for p in strategy.plugins if hasattr(p, "memory_x"))
        if not memory.memory_x:
            return
        parameters = list(strategy.model.parameters())
        used = torch.cat([p.grad.flatten() for p in parameters])
        for x, y in zip(memory.memory_x.values(), memory.memory_y.values(), strict=True):
            loss = functional.cross_entropy(strategy.model(x), y)
            stored = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
            self.pairs.append(float(stored @ used) / float(stored.norm() * used.norm()))


def test_no_step_raises_a_stored_loss_to_first_order(stream, make_learner):
    def least(margin, name):
        watch = _Gradients()
        learner = make_learner(stream, name, plugins=(watch,), gem_margin=margin, momentum=0.0, patterns=20)
        for phase in stream.phases:
            learner.train(phase)
        return min(watch.pairs), sum(watch.pairs) / len(watch.pairs)

    lowest, mean = least(0.0, "gem")
    assert lowest > -0.02
    assert least(0.5, "gem")[1] > mean + 0.1, "a margin leans towards the stored examples"


def test_a_small_output_scale_is_protected_too(stream, make_model):
    """Under α = 0.1 most gradients are shorter than √ε, and a ridge of ε would outweigh them."""
    watch = _Gradients()
    regime = registry.get("regime", "output_scale")(make_model(stream), stream.shape, alpha=0.1)
    setup = Setup(regime.model, stream, lr_scale=regime.lr_scale, plugins=(watch,))
    learner = registry.get("strategy", "gem")(
        setup, epochs=10, batch_size=16, lr=0.05, gem_margin=0.0, patterns=20
    )
    torch.manual_seed(1)
    for phase in stream.phases:
        learner.train(phase)
    assert min(watch.pairs) > -0.02


def test_the_averaged_gradient_is_projected_where_it_disagrees(stream, make_learner):
    """With one stored example of one phase, every sample's mean gradient is that example's."""
    pairs = []

    class Watch(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            if not plugin.buffers:
                return
            parameters = list(strategy.model.parameters())
            (x, y, *_) = plugin.buffers[0][0]
            stored = functional.cross_entropy(strategy.model(x[None]), torch.as_tensor(y)[None])
            own = torch.autograd.grad(strategy.loss, parameters, retain_graph=True)
            pairs.append([_flat(own), _flat(torch.autograd.grad(stored, parameters))])

        def before_update(self, strategy, **kwargs):
            if plugin.buffers:
                pairs[-1].append(_flat(p.grad for p in strategy.model.parameters()))

    random.seed(0)  # from which Avalanche draws what is stored
    learner = make_learner(stream, "agem", plugins=(Watch(),), patterns=1, epochs=3)
    plugin = next(p for p in learner.strategy.plugins if hasattr(p, "buffers"))
    for phase in stream.phases[:2]:
        learner.train(phase)
    turned = 0
    for own, stored, used in pairs:
        against = min(float(own @ stored), 0.0)
        turned += against < 0
        torch.testing.assert_close(used, own - against / stored.square().sum() * stored)
    assert 0 < turned < len(pairs)


def test_each_phase_stores_its_patterns(stream, make_learner):
    learner = make_learner(stream, "gem", patterns=20)
    for phase in stream.phases:
        learner.train(phase)
    memory = next(p for p in learner.strategy.plugins if hasattr(p, "memory_x"))
    assert [len(x) for x in memory.memory_x.values()] == [20] * 3


def test_a_sample_has_room_for_every_phase(stream, make_learner):
    with pytest.raises(
        DataError, match="strategy agem: expected agem_sample of at least 3, one for each phase"
    ):
        make_learner(stream, "agem", agem_sample=2)
