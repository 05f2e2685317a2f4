"""Memories hold what they should, and the losses on them are their formulas."""

import copy

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.regularization import ACECriterion
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from clntk import registry
from clntk.strategies.avalanche.rehearse import Rehearsal, among_present
from clntk.strategies.learner import Setup
from clntk.strategies.memory import Memory
from clntk.streams.presentation import multi_head


def _phase(k, n=20):
    return {"x": torch.arange(n) + 100.0 * k, "t": torch.full((n,), k)}


def _memory_of(learner):
    return next(p for p in learner.strategy.plugins if isinstance(p, Rehearsal)).memory


# --- the memory -------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 60), phases=st.integers(1, 5))
def test_a_memory_keeps_equal_shares_of_different_examples(size, phases):
    memory = Memory(size)
    for k in range(phases):
        memory.add(_phase(k))
        kept = [len(group["x"]) for group in memory.groups]
        assert sum(kept) == len(memory) == min(size, 20 * (k + 1)) or max(kept) == 20
        assert all(n == 20 for n in kept) or max(kept) - min(kept) <= 1
    for k, group in enumerate(memory.groups):
        assert group["x"].unique().numel() == len(group["x"])
        assert torch.isin(group["x"], _phase(k)["x"]).all()
        assert (group["t"] == k).all(), "columns stay together"


def test_a_memory_takes_examples_at_random():
    taken = torch.zeros(20)
    torch.manual_seed(0)
    for _ in range(400):
        memory = Memory(5)
        memory.add(_phase(0))
        taken[memory.groups[0]["x"].long()] += 1
    assert taken.sum() == 2000
    assert (taken > 60).all()  # 100 ± 9.7 expected


def test_a_draw_is_of_different_examples_and_at_most_all():
    memory = Memory(12)
    for k in range(2):
        memory.add(_phase(k))
    drawn = memory.draw(7)
    assert drawn["x"].unique().numel() == 7
    assert torch.equal(drawn["t"], (drawn["x"] >= 100).long())
    assert len(memory.draw(100)["x"]) == 12
    assert not torch.equal(memory.draw(12)["x"], memory.draw(12)["x"])


# --- losses -----------------------------------------------------------------------------------------------


class _Steps(SupervisedPlugin):
    """Weights, minibatch and generator before each step, and the loss that was taken."""

    def __init__(self):
        super().__init__()
        self.seen, self.fresh = [], []

    def before_forward(self, strategy, **kwargs):
        self._before = (copy.deepcopy(strategy.model), list(strategy.mbatch), torch.get_rng_state())
        self.fresh.append(not strategy.optimizer.state)

    def after_backward(self, strategy, **kwargs):
        self.seen.append((*self._before, strategy.loss.item()))


def _watched(stream, make_learner, name, **options):
    """A learner after a phase, and the steps of the next."""
    watch = _Steps()
    learner = make_learner(stream, name, plugins=(watch,), epochs=1, memory_size=30, **options)
    learner.train(stream.phases[0])
    memory = copy.deepcopy(_memory_of(learner))
    watch.seen.clear()
    learner.train(stream.phases[1])
    return learner, memory, watch.seen


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_dark_experience_holds_outputs_to_stored_logits(beta, stream, make_learner):
    _, memory, steps = _watched(stream, make_learner, "der", der_alpha=0.3, der_beta=beta)
    for model, (x, y, _), state, loss in steps:
        torch.set_rng_state(state)
        one = memory.draw(len(x))
        expected = functional.cross_entropy(model(x), y) + 0.3 * (model(one["x"]) - one["z"]).square().mean()
        if beta:
            other = memory.draw(len(x))
            expected = expected + beta * functional.cross_entropy(model(other["x"]), other["y"])
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_with_heads_the_mean_is_over_the_outputs_of_the_head(stream, make_learner):
    """Each task has 4 of 12 outputs; the 8 others are the same by definition."""
    headed = multi_head(stream)
    _, memory, steps = _watched(headed, make_learner, "der", der_alpha=0.3, der_beta=0.0)
    head = list(headed.heads[0])
    for model, (x, y, t), state, loss in steps:
        torch.set_rng_state(state)
        one = memory.draw(len(x))
        held = (model(one["x"], one["t"])[:, head] - one["z"][:, head]).square().mean()
        assert loss == pytest.approx((functional.cross_entropy(model(x, t), y) + 0.3 * held).item(), rel=1e-5)


def test_logits_are_those_at_the_end_of_their_phase(stream, make_learner):
    learner = make_learner(stream, "der")
    learner.train(stream.phases[0])
    stored, model = _memory_of(learner).groups[0], copy.deepcopy(learner.model)
    torch.testing.assert_close(stored["z"], model(stored["x"]).detach())
    learner.train(stream.phases[1])
    assert torch.equal(
        _memory_of(learner).groups[0]["z"], stored["z"][: len(_memory_of(learner).groups[0]["z"])]
    )


def test_asymmetric_loss_is_avalanches_on_tame_logits():
    g = torch.Generator().manual_seed(0)
    new, old = torch.randn(8, 5, generator=g), torch.randn(6, 5, generator=g)
    y, z = torch.tensor([0, 2, 2, 0, 4, 4, 0, 2]), torch.tensor([1, 3, 0, 2, 1, 3])
    ours = (among_present(new, y) + functional.cross_entropy(old, z)) / 2  # Avalanche takes their mean
    torch.testing.assert_close(ours, ACECriterion()(new, y, old, z))
    assert torch.isfinite(among_present(new * 1000, y)), "where Avalanche takes the logarithm of 0"


def test_asymmetric_replay_adds_both_losses_and_knows_the_new_phase(stream, make_learner):
    _, _, steps = _watched(stream, make_learner, "er_ace")
    watch = _Steps()
    learner = make_learner(stream, "er_ace", plugins=(watch,), epochs=1, memory_size=30)
    memory = _memory_of(learner)
    assert len(memory) == 0
    torch.manual_seed(1)
    learner.train(stream.phases[0])
    for model, (x, y, _), _, loss in watch.seen:
        assert loss == pytest.approx(functional.cross_entropy(model(x), y).item()), (
            "the first phase is as usual"
        )
    learner.train(stream.phases[1])
    assert [set(group["t"].tolist()) for group in memory.groups] == [{0}, {1}]
    for model, (x, y, _), state, loss in steps:
        torch.set_rng_state(state)
        stored = memory.draw(len(x))
        expected = among_present(model(x), y) + functional.cross_entropy(model(stored["x"]), stored["y"])
        assert loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("heads", [False, True])
def test_retrieval_takes_the_examples_whose_loss_a_step_raises_most(heads, stream, make_learner):
    stream = multi_head(stream) if heads else stream
    _, memory, steps = _watched(stream, make_learner, "mir", mir_candidates=25)
    for model, (x, y, t), state, loss in steps:
        torch.set_rng_state(state)

        def f(network, x, t):
            return network(x, t) if heads else network(x)

        drawn, n = memory.draw(25), len(x)
        moved = copy.deepcopy(model)
        own = functional.cross_entropy(f(moved, x, t), y)
        for p, g in zip(moved.parameters(), torch.autograd.grad(own, list(moved.parameters())), strict=True):
            p.data -= 0.05 * g
        rises = [
            (
                functional.cross_entropy(f(moved, a[None], c[None]), b[None])
                - functional.cross_entropy(f(model, a[None], c[None]), b[None])
            ).item()
            for a, b, c in zip(drawn["x"], drawn["y"], drawn["t"], strict=True)
        ]
        worst = sorted(range(len(rises)), key=lambda k: -rises[k])[:n]
        replayed = functional.cross_entropy(f(model, drawn["x"][worst], drawn["t"][worst]), drawn["y"][worst])
        assert loss == pytest.approx((own + replayed).item(), rel=1e-4)


# --- learning without forgetting --------------------------------------------------------------------------


def test_distillation_is_over_all_classes_seen_in_a_single_head(make_task, make_learner):
    """With task labels, Avalanche's plugin would distil the first task's classes only."""
    from clntk.streams.base import Split, Task, TaskStream

    def shifted(task, by):
        return Task(task.name, *(Split(p.x, p.y % 2 + by) for p in task.parts.values()))

    tasks = tuple(shifted(make_task(f"task{t}", seed=t), 2 * t) for t in range(3))
    stream = TaskStream(tasks, outputs=6)
    watch = _Steps()
    learner = make_learner(stream, "lwf", plugins=(watch,), epochs=1, lwf_alpha=0.7, lwf_temperature=3.0)
    for phase in stream.phases[:2]:
        learner.train(phase)
    teacher = copy.deepcopy(learner.model)
    watch.seen.clear()
    learner.train(stream.phases[2])
    for model, (x, y, _), _, loss in watch.seen:
        p, q = ((m(x)[:, :4] / 3.0) for m in (model, teacher))
        distilled = functional.kl_div(p.log_softmax(1), q.softmax(1), reduction="batchmean")
        expected = functional.cross_entropy(model(x), y) + 0.7 * distilled
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_with_heads_each_old_head_is_distilled(stream, make_learner):
    headed, watch = multi_head(stream), _Steps()
    learner = make_learner(headed, "lwf", plugins=(watch,), epochs=1)
    for phase in headed.phases[:2]:
        learner.train(phase)
    teacher = copy.deepcopy(learner.model)
    watch.seen.clear()
    learner.train(headed.phases[2])
    for model, (x, y, t), _, loss in watch.seen:
        expected = functional.cross_entropy(model(x, t), y)
        for head in headed.heads[:2]:
            p, q = (m(x)[:, list(head)] / 2.0 for m in (model.network, teacher))
            expected = expected + functional.kl_div(p.log_softmax(1), q.softmax(1), reduction="batchmean")
        assert loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("restored", [False, True])
def test_the_old_network_answers_without_chance_and_input_by_input(restored, stream):
    """Dropout and batch normalisation are those of evaluation, in the old network, and of training in the new one."""

    def learner():
        torch.manual_seed(0)
        kinds = nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)
        watch = _Steps()
        setup = Setup(nn.Sequential(*kinds), stream, plugins=(watch,))
        return registry.get("strategy", "lwf")(setup, epochs=1, batch_size=16, lr=0.05), watch

    learning, watch = learner()
    learning.train(stream.phases[0])
    teacher = copy.deepcopy(learning.model).eval()
    if restored:
        state = copy.deepcopy(learning.state_dict())
        learning, watch = learner()
        learning.load_state_dict(state)
    watch.seen.clear()
    learning.train(stream.phases[1])
    for model, (x, y, _), state, loss in watch.seen:
        torch.set_rng_state(state)
        f = model(x)
        log_p, q = (f / 2).log_softmax(1), (teacher(x) / 2).softmax(1)
        expected = functional.cross_entropy(f, y) + functional.kl_div(log_p, q, reduction="batchmean")
        assert model.training
        assert loss == pytest.approx(expected.item(), rel=1e-5)


# --- a new start ------------------------------------------------------------------------------------------


def test_every_phase_of_gdumb_starts_anew_on_its_memory_alone(stream, make_learner, weights_of, same):
    watch = _Steps()
    learner = make_learner(stream, "gdumb", plugins=(watch,), memory_size=22)
    initial = weights_of(learner.model)
    stored = set()
    for k, phase in enumerate(stream.phases):
        watch.seen.clear()
        watch.fresh.clear()
        learner.train(phase)
        assert same(weights_of(watch.seen[0][0]), initial)
        assert watch.fresh == [True] + [False] * (len(watch.fresh) - 1), "momentum is of this phase alone"
        seen = torch.cat([batch[0] for _, batch, _, _ in watch.seen])
        labels = torch.cat([batch[1] for _, batch, _, _ in watch.seen])
        assert len(seen) == 2 * 22, "two epochs"
        assert len(seen.unique(dim=0)) == 22
        assert labels.bincount().tolist() in (
            [12, 12, 10, 10],
            [12, 10, 12, 10],
            [10, 12, 10, 12],
            [10, 10, 12, 12],
        )
        stored |= set(torch.cat([batch[2] for _, batch, _, _ in watch.seen]).tolist())
        assert k in stored


def test_cumulative_training_sees_all_phases_so_far(stream, make_learner):
    watch = _Steps()
    learner = make_learner(stream, "cumulative", plugins=(watch,), epochs=1)
    for k, phase in enumerate(stream.phases):
        watch.seen.clear()
        learner.train(phase)
        seen = torch.cat([batch[0] for _, batch, _, _ in watch.seen])
        expected = torch.cat([task.train.x for task in stream.tasks[: k + 1]])
        assert torch.equal(seen.sort(dim=0).values, expected.sort(dim=0).values)


@pytest.mark.parametrize(("name", "size"), [("cumulative", 100), ("gdumb", 22)])
def test_no_batch_size_takes_all_that_is_trained_on(name, size, stream, make_learner):
    watch = _Steps()
    options = {"memory_size": 22} if name == "gdumb" else {}
    learner = make_learner(stream, name, plugins=(watch,), epochs=1, batch_size=None, **options)
    for phase in stream.phases[:2]:
        watch.seen.clear()
        learner.train(phase)
    assert [len(batch[0]) for _, batch, _, _ in watch.seen] == [size]
