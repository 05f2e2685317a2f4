"""What each strategy promises: its own kind of training, and less forgetting than none."""

import pytest
import torch

from clntk import registry
from clntk.seeding import Seeds
from clntk.strategies.training import evaluate

PROTECTED = {
    "replay": {"memory_size": 200},
    # With squared minibatch gradients for importances, at this batch size and lr, λ = 10 hardly protects, and
    # λ = 1000 is beyond the stability of gradient descent (lr · 2λF > 2); 100 lies between.
    "ewc": {"ewc_lambda": 100.0, "fisher": "minibatch"},
    "joint": {},
}


@pytest.fixture(scope="module")
def first_task_accuracy(make_learner):
    """Final test accuracy on the first of three permuted-digits tasks, for three seeds."""

    def accuracies(name, **options):
        out = []
        for seed in range(3):
            stream = registry.get("stream", "permuted_digits")(Seeds(seed), n_tasks=3)
            learner = make_learner(stream, name, epochs=5, batch_size=32, momentum=0.0, **options)
            for phase in learner.stream.phases:
                learner.train(phase)
            out.append(evaluate(learner.model, stream.tasks[0].test, learner.loss, stream.accuracy)[1])
        return torch.tensor(out)

    return accuracies


@pytest.fixture(scope="module")
def unprotected(first_task_accuracy):
    return first_task_accuracy("naive")


@pytest.mark.parametrize("name", PROTECTED)
def test_forgets_less_than_naive_training(name, first_task_accuracy, unprotected):
    assert (unprotected < 0.85).all(), "nothing was forgotten that could be protected"
    gain = first_task_accuracy(name, **PROTECTED[name]) - unprotected
    assert (gain > 0.05).all()
    assert gain.mean() > 0.1


def test_no_penalty_is_naive_training(stream, make_learner, weights_of, same):
    """λ = 0 leaves the steps alone; only the pass for the importances draws from the generator."""

    def after_two_phases(name, **options):
        learner = make_learner(stream, name, batch_size=None, momentum=0.0, **options)  # no order to draw
        for phase in stream.phases[:2]:
            learner.train(phase)
        return weights_of(learner.model)

    without = after_two_phases("naive")
    torch.testing.assert_close(after_two_phases("ewc", ewc_lambda=0.0), without, rtol=1e-4, atol=1e-5)
    with_penalty = after_two_phases("ewc", ewc_lambda=50.0)
    assert max((a - b).abs().max() for a, b in zip(with_penalty, without, strict=True)) > 1e-3


def test_a_larger_penalty_holds_weights_closer(stream, make_learner, weights_of):
    moved = []
    for ewc_lambda in (0.0, 1.0, 10.0):
        learner = make_learner(stream, "ewc", ewc_lambda=ewc_lambda, momentum=0.0)
        learner.train(stream.phases[0])
        before = weights_of(learner.model)
        learner.train(stream.phases[1])
        after = weights_of(learner.model)
        moved.append(sum((a - b).square().sum() for a, b in zip(after, before, strict=True)).item())
    assert moved[0] > moved[1] > moved[2]


def test_the_memory_is_shared_equally_by_past_phases(stream, make_learner):
    from clntk.strategies.avalanche.loader import dataset_tensors

    learner = make_learner(stream, "replay", memory_size=31)
    memory = next(p for p in learner.strategy.plugins if hasattr(p, "storage_policy"))
    for k, phase in enumerate(stream.phases, start=1):
        learner.train(phase)
        groups = {t: dataset_tensors(g.buffer) for t, g in memory.storage_policy.buffer_groups.items()}
        sizes = [len(y) for _, y, _ in groups.values()]
        assert sum(sizes) == 31
        assert max(sizes) - min(sizes) <= 1
        assert [set(labels.tolist()) for _, _, labels in groups.values()] == [{t} for t in range(k)]
        for t, (kept, _, _) in groups.items():
            train = stream.tasks[t].train.x
            assert (kept[:, None] == train[None]).all(dim=2).any(dim=1).all()


def test_replayed_minibatches_hold_as_many_old_examples_as_new(stream, make_learner):
    from avalanche.core import SupervisedPlugin

    counts = []

    class Count(SupervisedPlugin):
        def before_forward(self, strategy, **kwargs):
            tasks = strategy.mbatch[2]
            counts.append(((tasks == 1).sum().item(), (tasks == 0).sum().item()))

    learner = make_learner(stream, "replay", plugins=(Count(),), memory_size=40, epochs=1)
    learner.train(stream.phases[0])
    counts.clear()
    learner.train(stream.phases[1])
    assert sum(new for new, _ in counts) == 50
    assert counts[0] == (16, 16)


def test_joint_trains_the_union_in_one_phase_whatever_the_schedule(make_stream, make_learner):
    for schedule in ("blocked", "interleaved", "joint"):
        learner = make_learner(make_stream(schedule=schedule), "joint")
        assert [(p.name, p.tasks, p.pure_batches) for p in learner.stream.phases] == [
            ("joint", (0, 1, 2), False)
        ]


def test_joint_on_a_joint_schedule_is_naive(make_stream, make_learner, weights_of, same):
    def run(name):
        learner = make_learner(make_stream(schedule="joint"), name)
        learner.train(learner.stream.phases[0])
        return weights_of(learner.model)

    assert same(run("joint"), run("naive"))
