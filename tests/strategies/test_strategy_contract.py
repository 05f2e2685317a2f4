"""What every registered strategy owes its users: a new one is tested by being registered."""

import io
from dataclasses import replace

import pytest
import torch
from kinds_of_strategies import descending

from clntk import registry
from clntk.errors import DataError
from clntk.runs.boundary import generator_state, set_generator_state
from clntk.seeding import Seeds
from clntk.strategies.avalanche.watch import StepWatch
from clntk.streams.base import Task
from clntk.streams.presentation import cued, multi_head

STRATEGIES = descending()
STREAMS = registry.names("stream")
CONTEXT = {"context_gating", "hebbian_gating"}  # need columns that hold the context

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.fixture(scope="module")
def stream_for(stream):
    """A stream that the strategy can train, plain or with a head for each task."""

    def choose(strategy, heads=False):
        chosen = cued(stream, 2.0) if strategy in CONTEXT else stream
        return multi_head(chosen) if heads else chosen

    return choose


def _train(learner, *, after=lambda: None):
    for phase in learner.stream.phases[learner.phases_done :]:
        learner.train(phase)
        after()
    return learner


def _finite(weights):
    return all(torch.isfinite(w).all() for w in weights)


@pytest.mark.parametrize("heads", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@every_strategy
def test_an_interrupted_strategy_goes_on_bit_for_bit(
    strategy, optimizer, heads, stream_for, make_learner, weights_of, same
):
    stream, lr = stream_for(strategy, heads), 0.05 if optimizer == "sgd" else 0.005
    watch = StepWatch(stream)
    learner = make_learner(stream, strategy, plugins=(watch,), optimizer=optimizer, lr=lr)
    watch.stream = learner.stream
    saved = []

    def save():
        buffer = io.BytesIO()
        torch.save({"learner": learner.state_dict(), "generators": generator_state()}, buffer)
        saved.append(buffer.getvalue())

    _train(learner, after=save)
    assert len(saved) == len(learner.stream.phases)
    for done, content in enumerate(saved, start=1):
        watch_again = StepWatch(stream)
        again = make_learner(stream, strategy, plugins=(watch_again,), optimizer=optimizer, lr=lr)
        watch_again.stream = again.stream
        torch.manual_seed(99)
        state = torch.load(io.BytesIO(content), weights_only=True)
        again.load_state_dict(state["learner"])
        set_generator_state(state["generators"])
        assert again.phases_done == done
        _train(again)
        assert same(weights_of(again.model), weights_of(learner.model))
        assert again.steps == learner.steps
        assert watch_again.losses == watch.losses
        for t, task in enumerate(stream.tasks):
            assert again.evaluate(task.test, t) == learner.evaluate(task.test, t)


@every_strategy
def test_a_strategy_learns_and_is_no_other(strategy, stream_for, make_learner, weights_of, same):
    learner = make_learner(stream_for(strategy), strategy)
    before, names = weights_of(learner.model), [name for name, _ in learner.model.named_parameters()]
    _train(learner)
    assert not same(before, weights_of(learner.model))
    assert _finite(weights_of(learner.model))
    assert names == [name for name, _ in make_learner(stream_for(strategy)).model.named_parameters()]
    if strategy != "naive":
        naive = _train(make_learner(stream_for(strategy), "naive"))
        assert not same(weights_of(naive.model), weights_of(learner.model))


@every_strategy
def test_a_strategy_learns_with_a_head_for_each_task(strategy, stream_for, make_learner):
    stream = stream_for(strategy, heads=True)
    learner = _train(make_learner(stream, strategy, epochs=10, momentum=0.0))
    for t, task in enumerate(stream.tasks):
        loss, accuracy = learner.evaluate(task.train, t)
        assert loss < 100, "outputs outside the head have come into it"
        assert accuracy > 0.5 or t < len(stream.tasks) - 1  # the last task is learned; chance is 1/4


@every_strategy
def test_looking_at_a_strategys_network_leaves_its_training_alone(
    strategy, stream_for, make_learner, weights_of, same
):
    stream = stream_for(strategy)

    def run(look):
        learner = make_learner(stream, strategy)
        for phase in learner.stream.phases:
            learner.train(phase)
            if look:
                learner.strategy.eval(stream.benchmark.test_stream)
                for t, task in enumerate(stream.tasks):
                    learner.evaluate(task.test, t)
        return weights_of(learner.model)

    assert same(run(True), run(False))


# --- pairs with everything --------------------------------------------------------------------------------


def _few(split, n):
    return split.subset(torch.arange(0, len(split), max(1, len(split) // n))[:n])


@pytest.fixture(scope="module")
def built_streams():
    """Every stream with a few examples of two tasks, those that need no more data than scikit-learn's."""
    small = {}
    for name in STREAMS:
        stream = registry.get("stream", name)(Seeds(0))
        tasks = [Task(t.name, _few(t.train, 60), _few(t.test, 20), t.probe) for t in stream.tasks[:2]]
        small[name] = replace(stream, tasks=tuple(tasks), phases="blocked", angles=None)
    return small


def _trains_or_refuses(make_learner, weights_of, stream, strategy, **options):
    """Two phases of at most two minibatches: weights stay finite, or the strategy says why not."""
    try:
        learner = make_learner(stream, strategy, epochs=1, lr=0.01, momentum=0.0, batch_size=256, **options)
    except DataError as refusal:
        if str(refusal).startswith("strategy") and "; " in str(refusal):  # whose, and what to do
            return
        raise
    for phase in learner.stream.phases[:2]:
        learner.train(phase)
    assert learner.steps > 0
    assert _finite(weights_of(learner.model))


@pytest.mark.parametrize("stream", STREAMS)
@every_strategy
def test_a_strategy_trains_a_stream_or_says_why_not(
    strategy, stream, built_streams, make_learner, weights_of
):
    _trains_or_refuses(make_learner, weights_of, built_streams[stream], strategy)


@pytest.mark.parametrize("schedule", ["joint", "interleaved", "cyclic", "gradual"])
@every_strategy
def test_a_strategy_trains_a_schedule_or_says_why_not(
    strategy, schedule, stream_for, make_learner, weights_of, seeds
):
    for heads in (False, True):
        stream = stream_for(strategy, heads).scheduled(schedule, seeds)
        _trains_or_refuses(make_learner, weights_of, stream, strategy)


@pytest.mark.parametrize("loss", ["squared_error", "sum_squared_error", "reward"])
@every_strategy
def test_a_strategy_trains_a_loss_or_says_why_not(
    strategy, loss, stream_for, built_streams, make_learner, weights_of
):
    if loss != "reward":
        for heads in (False, True):
            _trains_or_refuses(make_learner, weights_of, stream_for(strategy, heads), strategy, loss=loss)
    _trains_or_refuses(make_learner, weights_of, built_streams["context_blobs"], strategy, loss=loss)


def test_only_those_refuse_a_plain_stream_of_labels_that_need_a_context(stream, make_learner):
    refused = set()
    for strategy in STRATEGIES:
        try:
            make_learner(stream, strategy)
        except DataError:
            refused.add(strategy)
    assert refused == CONTEXT
