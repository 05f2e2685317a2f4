"""Context weights that are fixed or Hebbian, and a context that lags behind."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from avalanche.core import SupervisedPlugin

from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.strategies.avalanche.context_weights import oja
from clntk.strategies.learner import Setup
from clntk.streams.base import Split, Task
from clntk.streams.presentation import cued

CONTEXT = slice(12, 15)


@pytest.fixture(scope="module")
def cue(stream):
    """Three tasks with a one-hot cue of size 2 in the last three of 15 columns."""
    return cued(stream, 2.0)


def _weights(learner):
    return learner.model.hidden1.linear.weight.detach()[:, CONTEXT].clone()


# --- fixed context weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"optimizer": "adam", "momentum": 0.0}])
def test_fixed_context_weights_stay_whatever_the_optimizer_does(options, cue, make_learner):
    learner = make_learner(cue, "context_gating", context_weight=1.5, **options)
    before, rest = _weights(learner), learner.model.hidden1.linear.weight.detach()[:, :12].clone()
    assert set(before.unique().tolist()) == {-1.5, 1.5}
    assert ((before > 0).sum(1) == 1).all(), "up in one context, down in the others"
    assert sorted((before > 0).sum(0).tolist()) == [5, 5, 6], "16 units shared equally"
    for phase in cue.phases:
        learner.train(phase)
    assert torch.equal(_weights(learner), before)
    assert not torch.equal(learner.model.hidden1.linear.weight[:, :12], rest)


def test_which_unit_prefers_which_context_changes_with_the_seed(cue, make_model):
    def preferred(seed):
        setup = Setup(make_model(cue), cue, seeds=Seeds(seed))
        return _weights(registry.get("strategy", "context_gating")(setup))

    assert torch.equal(preferred(0), preferred(0))
    assert not torch.equal(preferred(0), preferred(1))


def test_a_centred_network_still_starts_at_zero(cue, make_model):
    model = registry.get("regime", "output_scale")(make_model(cue), cue.shape, alpha=100.0).model
    registry.get("strategy", "context_gating")(Setup(model, cue))
    assert model(cue.tasks[0].test.x).abs().max() < 1e-3


def test_strong_context_weights_keep_units_to_their_own_context(cue, make_learner):
    learner = make_learner(cue, "context_gating", context_weight=20.0, momentum=0.0)
    for phase in cue.phases:
        learner.train(phase)
    own = _weights(learner).argmax(1)
    for t, task in enumerate(cue.tasks):
        active = (learner.model.hidden1(task.test.x) > 0).any(0)
        assert torch.equal(active, own == t)


def test_context_weights_are_as_large_under_every_regime(cue, make_model):
    """What switching a context input on does to the hidden units, whatever factor the regime puts before weights."""
    for regime in ("standard", "ntk_parametrization", "mup", "mean_field"):
        started = registry.get("regime", regime)(make_model(cue, depth=2), cue.shape)
        setup = Setup(started.model, cue, lr_scale=started.lr_scale)
        learner = registry.get("strategy", "context_gating")(setup, context_weight=1.5, epochs=1)
        path = next(n for n, _ in learner.model.named_modules() if n.endswith("hidden1.linear"))
        drive = learner.model.get_submodule(path)
        learner.train(cue.phases[0])
        off = torch.zeros(1, 15)
        moved = drive(off + torch.eye(15)[CONTEXT]) - drive(off)
        torch.testing.assert_close(moved.abs().detach(), torch.full((3, 16), 1.5), msg=regime)
        assert ((moved > 0).sum(0) == 1).all()


@pytest.mark.parametrize("regime", ["ntk_parametrization", "mean_field"])
def test_ojas_rule_is_about_the_weights_of_the_forward_pass(regime, cue, make_model):
    """One step moves them by η times the rule on them, whatever factor the regime puts before the layer's own."""
    started = registry.get("regime", regime)(make_model(cue), cue.shape)
    setup = Setup(started.model, cue, lr_scale=started.lr_scale)
    learner = registry.get("strategy", "hebbian_gating")(
        setup, hebbian_rate=0.1, epochs=1, batch_size=None, lr=1e-12, centre=False
    )
    path = next(n for n, _ in learner.model.named_modules() if n.endswith("hidden1.linear"))
    drive = learner.model.get_submodule(path)

    def weights():
        return (drive(torch.eye(15)[CONTEXT]) - drive(torch.zeros(1, 15))).detach().T

    before, x = weights(), cue.tasks[0].train.x[:, CONTEXT]
    learner.train(cue.phases[0])
    step = weights() - before
    torch.testing.assert_close(step, 0.1 * oja(before, x), rtol=1e-4, atol=1e-5)
    assert step.abs().max() > 0.01


def test_frozen_features_learn_by_no_rule(cue, make_model):
    started = registry.get("regime", "frozen_features")(make_model(cue), cue.shape)
    setup = Setup(started.model, cue)
    with pytest.raises(
        DataError, match=r"hebbian_gating: expected context weights that are trained, found network\.hidden1"
    ):
        registry.get("strategy", "hebbian_gating")(setup)
    registry.get("strategy", "context_gating")(setup)


@pytest.mark.parametrize("name", ["context_gating", "hebbian_gating"])
def test_context_weights_need_a_layer_that_reads_the_inputs(name, cue):
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (3, 5)), torch.nn.Flatten(), torch.nn.Bilinear(15, 15, 4)
    )
    with pytest.raises(DataError, match=f"strategy {name}: expected a linear layer that reads the inputs"):
        registry.get("strategy", name)(Setup(network, cue))


@pytest.mark.parametrize("name", ["context_gating", "hebbian_gating"])
def test_context_weights_need_a_context(name, stream, make_learner):
    with pytest.raises(
        DataError, match=rf"strategy {name}: expected flat inputs with a group of columns called context, found "
        r"inputs of shape \(12,\) with the groups: none; append a cue with stream.cue"
    ):  # fmt: skip
        make_learner(stream, name)


# --- Oja's rule -------------------------------------------------------------------------------------------


def test_ojas_rule_is_its_formula_unit_by_unit():
    g = torch.Generator().manual_seed(0)
    weight, x = torch.randn(4, 3, generator=g), torch.randn(5, 3, generator=g)
    for unit in range(4):
        w = weight[unit]
        expected = sum((w @ row) * (row - (w @ row) * w) for row in x) / 5
        torch.testing.assert_close(oja(weight, x)[unit], expected)


def test_ojas_rule_ends_in_the_leading_direction_with_length_one():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=g) * torch.tensor([3.0, 1.0, 0.5])
    weight = torch.randn(6, 3, generator=g)
    for _ in range(500):
        weight = weight + 0.02 * oja(weight, x)
    leading = torch.linalg.svd(x, full_matrices=False).Vh[0]
    torch.testing.assert_close((weight @ leading).abs(), torch.ones(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(6), atol=1e-3, rtol=0)


@pytest.mark.parametrize("centre", [True, False])
def test_the_hebbian_step_follows_each_step_of_the_optimizer(centre, cue, make_learner):
    watch = []

    class Watch(SupervisedPlugin):
        def after_update(self, strategy, **kwargs):
            watch.append(strategy.model.hidden1.linear.weight.detach()[:, CONTEXT].clone())

    learner = make_learner(
        cue, "hebbian_gating", plugins=(Watch(),), batch_size=None, epochs=1, centre=centre, momentum=0.0
    )
    weight, data = learner.model.hidden1.linear.weight, cue.tasks[0].train
    loss = torch.nn.functional.cross_entropy(learner.model(data.x), data.y)
    moved = (weight - 0.05 * torch.autograd.grad(loss, weight)[0])[:, CONTEXT].detach()
    context = data.x[:, CONTEXT]
    expected = moved + 0.01 * oja(moved, context - 2 / 3 if centre else context)
    learner.train(cue.phases[0])
    torch.testing.assert_close(watch[0], expected)


# --- a sluggish context -----------------------------------------------------------------------------------


class _Batches(SupervisedPlugin):
    def __init__(self):
        super().__init__()
        self.x = []

    def before_forward(self, strategy, **kwargs):
        self.x.append(strategy.mb_x.clone())


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("schedule", ["blocked", "interleaved"])
def test_a_sluggish_context_is_the_running_average_of_the_trials(schedule, batch_size, cue, make_learner):
    def trained_on(rate):
        batches = _Batches()
        stream = replace(cue.scheduled(schedule), context_rate=rate)
        learner = make_learner(stream, plugins=(batches,), batch_size=batch_size, epochs=1)
        for phase in stream.phases:
            learner.train(phase)
        return torch.cat(batches.x)

    found, trials = trained_on(0.3), trained_on(1.0)
    assert torch.equal(found[:, :12], trials[:, :12])
    expected = pd.DataFrame(trials[:, CONTEXT].numpy()).ewm(alpha=0.3, adjust=False).mean().to_numpy()
    torch.testing.assert_close(found[:, CONTEXT], torch.tensor(expected.tolist()), rtol=1e-4, atol=1e-6)


def test_tests_and_data_keep_their_own_context(cue, make_learner):
    stream = replace(cue, context_rate=0.1)
    before = stream.tasks[0].train.x.clone()
    learner = make_learner(stream, epochs=1)
    for phase in stream.phases:
        learner.train(phase)
    assert torch.equal(stream.tasks[0].train.x, before)
    loss, _ = learner.evaluate(stream.tasks[0].test, 0)
    data = stream.tasks[0].test
    assert loss == torch.nn.functional.cross_entropy(learner.model(data.x), data.y).item()


def test_a_sluggish_context_outlives_a_boundary(cue, make_learner, weights_of, same):
    stream = replace(cue, context_rate=0.1)
    learner = make_learner(stream)
    learner.train(stream.phases[0])
    state, generator = learner.state_dict(), torch.get_rng_state()
    model = {k: v.clone() for k, v in state["model"].items()}
    learner.train(stream.phases[1])
    again = make_learner(stream)
    again.load_state_dict(state | {"model": model})
    torch.set_rng_state(generator)
    again.train(stream.phases[1])
    assert not same(weights_of(again.model), [*model.values()])
    first = next(p for p in again.strategy.plugins if hasattr(p, "rate"))
    assert torch.equal(first.context, learner.strategy.plugins[0].context)


# --- blocked training of two contexts ---------------------------------------------------------------------


def _blobs(scale):
    """The stimuli with a maximum of 1 and the context one-hot times a scale, as in Flesch, Nagy et al. 2023."""
    stream = registry.get("stream", "context_blobs")(Seeds(0))

    def scaled(part):
        x = part.x.clone()
        x[:, :25] /= x[:, :25].max()
        x[:, 25:] *= scale * 50**0.5
        return Split(x, part.y)

    tasks = tuple(Task(t.name, *(scaled(p) for p in t.parts.values())) for t in stream.tasks)
    return replace(stream, tasks=tasks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale", "options", "least", "most"),
    [
        ("naive", 4.0, {}, 0.5, 0.7),  # the floor of B's rule on A is .6
        ("context_gating", 2.0, {}, 0.95, 1.0),
        ("hebbian_gating", 2.0, {"hebbian_rate": 0.05}, 0.9, 1.0),
    ],
)
def test_gating_keeps_the_first_context_in_blocked_training(name, scale, options, least, most):
    stream = _blobs(scale)
    for seed in range(3):
        torch.manual_seed(seed)
        model = registry.get("model", "mlp")(stream.shape, width=100, depth=1, bias_init=0.1)
        model = registry.get("regime", "init_scale")(model, stream.shape, sd=[0.01, 0.1]).model
        learner = registry.get("strategy", name)(
            Setup(model, stream, seeds=Seeds(seed)),
            epochs=200,
            batch_size=1,
            lr=0.03,
            loss="reward",
            **options,
        )
        for phase in stream.phases:
            learner.train(phase)
        first, second = (learner.evaluate(task.test, t)[1] for t, task in enumerate(stream.tasks))
        assert least <= first <= most
        assert second == 1.0
        weights = model.hidden1.linear.weight.detach()[:, 25:]
        if name != "naive":
            assert torch.corrcoef(weights.T)[0, 1] < -0.95
