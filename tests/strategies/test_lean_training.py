"""The lean template against Avalanche's own: same weights, same numbers, and looking changes nothing."""

import math
import random
import warnings
from collections import Counter
from itertools import pairwise

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, with_task_labels
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.training import AGEM, EWC, MAS, CWRStar, LwF, Naive, Replay
from avalanche.training.plugins import EvaluationPlugin, RWalkPlugin
from torch.nn import functional

from clntk.errors import DataError, Diverged
from clntk.strategies.avalanche.lean import ITERATION_EVENTS, LeanTemplate
from clntk.strategies.avalanche.loader import IndexedLoader, TensorLoader, dataset_tensors, in_memory
from clntk.strategies.avalanche.watch import StepWatch
from clntk.strategies.training import Training, accuracy, evaluate
from clntk.streams.avalanche.benchmark import avalanche_dataset
from clntk.streams.base import Phase, Split


def _rwalk(**options):
    return Naive(plugins=[RWalkPlugin(ewc_lambda=1.0, ewc_alpha=0.9, delta_t=4)], **options)


# Avalanche's strategy, its options, and ours
STOCK = {
    "naive": (Naive, {}, {}),
    "agem": (AGEM, {"patterns_per_exp": 20, "sample_size": 16}, {"patterns": 20, "agem_sample": 16}),
    "mas": (MAS, {"lambda_reg": 0.03, "alpha": 0.5}, {"importance": "minibatch"}),
    "lwf": (LwF, {"alpha": 1.0, "temperature": 2.0}, {}),
    "rwalk": (_rwalk, {}, {"rwalk_interval": 4}),  # the 8 steps of a phase are whole intervals
    "cwr_star": (CWRStar, {"cwr_layer_name": "readout"}, {"readout_bias": "trained"}),
    "replay": (Replay, {"mem_size": 31}, {"memory_size": 31}),
    "ewc": (EWC, {"ewc_lambda": 50.0}, {"ewc_lambda": 50.0, "fisher": "minibatch"}),
}


@pytest.fixture
def make_stock(make_model):
    """Avalanche's strategy as its users would build it, on the same network and seed as ``make_learner``."""

    def make(stream, kind=Naive, *, momentum=0.9, **options):
        model = make_model(stream)
        strategy = kind(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum),
            criterion=torch.nn.CrossEntropyLoss(),
            train_mb_size=16,
            train_epochs=2,
            eval_mb_size=16,
            **{"evaluator": EvaluationPlugin(), **options},
        )
        torch.manual_seed(1)
        return strategy

    return make


class Spy(SupervisedPlugin):
    """Writes down each minibatch's tasks and loss, and counts the callbacks of an iteration."""

    def __init__(self):
        super().__init__()
        self.tasks, self.losses, self.events = [], [], Counter()

    def after_training_iteration(self, strategy, **kwargs):
        self.tasks.append(set(strategy.mbatch[2].tolist()))
        self.losses.append(strategy.loss.item())
        self.events["after_training_iteration"] += 1


for _event in set(ITERATION_EVENTS) - {"after_training_iteration"}:
    setattr(Spy, _event, lambda self, strategy, _event=_event, **kwargs: self.events.update([_event]))


# --- the same weights as Avalanche's ----------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", STOCK)
def test_weights_are_avalanches_bit_for_bit(
    name, momentum, stream, make_learner, make_stock, weights_of, same
):
    kind, stock_options, options = STOCK[name]
    random.seed(1)  # A-GEM draws its memory from Python's generator
    learner = make_learner(stream, name, momentum=momentum, **options)
    ours = []
    for phase in stream.phases:
        learner.train(phase)
        ours.append(weights_of(learner.model))
    random.seed(1)
    stock = make_stock(stream, kind, momentum=momentum, **stock_options)
    for experience, weights in zip(stream.benchmark.train_stream, ours, strict=True):
        with warnings.catch_warnings(record=name == "replay"):  # stock replay calls a method of its own past
            stock.train(experience, eval_streams=[])
        assert same(weights_of(stock.model), weights)


def test_a_pass_over_mixed_tasks_is_avalanches_over_their_union(
    make_stream, make_learner, make_stock, weights_of, same
):
    """Stock Avalanche balances minibatches by task label, so the union goes to it under one label."""
    stream = make_stream(schedule="joint")
    learner = make_learner(stream)
    learner.train(stream.phases[0])
    stock = make_stock(stream)
    union, labels = stream.phase_data(stream.phases[0])
    dataset = avalanche_dataset(union, torch.zeros_like(labels))
    benchmark = with_task_labels(benchmark_from_datasets(train=[dataset]))
    stock.train(benchmark.train_stream[0], eval_streams=[])
    assert same(weights_of(learner.model), weights_of(stock.model))


def test_evaluation_gives_avalanches_numbers(stream, make_stock, make_model):
    def metrics():
        return EvaluationPlugin(accuracy_metrics(stream=True, experience=True), loss_metrics(stream=True))

    stock = make_stock(stream, evaluator=metrics())
    lean = LeanTemplate(
        model=make_model(stream),
        optimizer=torch.optim.SGD(stock.model.parameters(), lr=0.1),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=16,
        eval_mb_size=4096,
        evaluator=metrics(),
    )
    expected = stock.eval(stream.benchmark.test_stream)
    found = lean.eval(stream.benchmark.test_stream)
    assert len(expected) == 5
    assert found == pytest.approx(expected, rel=1e-5)


# --- looking changes nothing ------------------------------------------------------------------------------


def _trained(strategy, train, stream, *, look):
    for k, _ in enumerate(stream.phases):
        if look:
            strategy.eval(stream.benchmark.test_stream)
        train(k)
    return [p.detach() for p in strategy.model.parameters()]


@pytest.mark.parametrize("name", STOCK)
def test_evaluating_between_phases_leaves_training_alone(name, stream, make_learner, same):
    def run(look):
        learner = make_learner(stream, name)
        return _trained(learner.strategy, lambda k: learner.train(stream.phases[k]), stream, look=look)

    assert same(run(True), run(False))


def test_evaluating_changes_the_training_of_stock_avalanche(stream, make_stock, same):
    """The trap that the test above guards against is there."""

    def run(look):
        stock = make_stock(stream)
        experiences = list(stream.benchmark.train_stream)
        return _trained(stock, lambda k: stock.train(experiences[k], eval_streams=[]), stream, look=look)

    assert not same(run(True), run(False))


def test_evaluate_puts_modes_back_and_touches_no_generator(stream):
    model = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 4))
    model[0].eval()
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    test = stream.tasks[0].test
    loss, right = evaluate(model, test, functional.cross_entropy, "argmax")
    assert [m.training for m in model.modules()] == modes == [True, False, True, True]
    assert torch.equal(torch.get_rng_state(), state)
    without_dropout = model[2](model[0](test.x))
    assert loss == functional.cross_entropy(without_dropout, test.y).item()
    hits = [int(f.argmax()) == int(y) for f, y in zip(without_dropout, test.y, strict=True)]
    assert right == pytest.approx(sum(hits) / len(test))


def test_evaluate_puts_modes_back_when_the_network_fails(stream):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4))
    with pytest.raises(RuntimeError):
        evaluate(model, stream.tasks[0].test, functional.cross_entropy, "argmax")
    assert all(m.training for m in model.modules())


# --- what a step is ---------------------------------------------------------------------------------------


def _train(learner):
    for phase in learner.stream.phases:
        learner.train(phase)


def test_every_callback_of_a_plugin_is_called_once_a_step(stream, make_learner):
    spy = Spy()
    learner = make_learner(stream, plugins=(spy,))
    learner.train(stream.phases[0])
    assert learner.steps == 2 * math.ceil(50 / 16)
    assert spy.events == dict.fromkeys(ITERATION_EVENTS, learner.steps)


def test_no_batch_size_takes_each_phase_at_once(make_stream, make_task, make_learner):
    sizes = []

    class Sizes(SupervisedPlugin):
        def before_forward(self, strategy, **kwargs):
            sizes.append(len(strategy.mbatch[0]))

    stream = make_stream(2, phases=(Phase("first", (0,)), Phase("both", (0, 1))))
    learner = make_learner(stream, plugins=(Sizes(),), batch_size=None, epochs=1)
    for phase in stream.phases:
        learner.train(phase)
    assert sizes == [50, 100]


def test_interleaved_minibatches_hold_one_task_in_random_order(make_stream, make_learner):
    spy, stream = Spy(), make_stream(schedule="interleaved")
    make_learner(stream, plugins=(spy,), epochs=1).train(stream.phases[0])
    assert all(len(tasks) == 1 for tasks in spy.tasks)
    order = [tasks.pop() for tasks in spy.tasks]
    assert Counter(order) == dict.fromkeys(range(3), math.ceil(50 / 16))
    assert order != sorted(order)


def test_joint_minibatches_mix_tasks(make_stream, make_learner):
    spy, stream = Spy(), make_stream(schedule="joint")
    make_learner(stream, plugins=(spy,), epochs=1).train(stream.phases[0])
    assert len(spy.tasks) == math.ceil(150 / 16)
    assert sum(tasks == {0, 1, 2} for tasks in spy.tasks) > len(spy.tasks) / 2


@pytest.mark.parametrize("pure", [False, True])
def test_an_epoch_shows_every_example_once(stream, pure):
    experience = stream.scheduled("joint").benchmark.train_stream[0]
    loader = TensorLoader(experience.dataset, batch_size=16, device=torch.device("cpu"), pure=pure)
    batches = list(loader)
    assert len(batches) == len(loader)
    seen = torch.cat([x for x, _, _ in batches])
    everything = torch.cat([task.train.x for task in stream.tasks])
    assert torch.equal(seen.sort(dim=0).values, everything.sort(dim=0).values)
    assert not torch.equal(seen, everything)


def test_a_plugins_loader_keeps_its_length(stream):
    from avalanche.benchmarks.utils.data_loader import ReplayDataLoader

    first, second = (experience.dataset for experience in list(stream.benchmark.train_stream)[:2])
    stock = ReplayDataLoader(second, first, batch_size=16, batch_size_mem=16, oversample_small_tasks=True)
    ours = in_memory(stock, torch.device("cpu"))
    assert isinstance(ours, IndexedLoader)
    assert len(ours) == len(stock) == len(list(ours))


# --- shared options ---------------------------------------------------------------------------------------


def test_resetting_the_optimizer_forgets_momentum_between_phases(stream, make_learner, weights_of, same):
    def run(**options):
        learner = make_learner(stream, **options)
        after = []
        for phase in stream.phases[:2]:
            learner.train(phase)
            after.append(weights_of(learner.model))
        return after

    kept, reset = run(reset_optimizer=False), run(reset_optimizer=True)
    assert same(kept[0], reset[0])
    assert not same(kept[1], reset[1])
    kept, reset = (run(reset_optimizer=r, momentum=0.0) for r in (False, True))
    assert same(kept[1], reset[1])  # without momentum there is nothing to forget


def test_the_regime_scales_the_learning_rate(stream, make_learner, weights_of):
    def run(**options):
        learner = make_learner(stream, **options)
        learner.train(stream.phases[0])
        return weights_of(learner.model)

    torch.testing.assert_close(run(lr=0.5, lr_scale=0.1), run(lr=0.05))


@pytest.mark.parametrize("stop_check", [1, 3])
def test_a_phase_ends_once_its_loss_is_low_enough(stream, make_learner, stop_check):
    target, steps = 0.5, [0]
    learner = make_learner(stream, epochs=100, stop_loss=target, stop_check=stop_check, momentum=0.0)
    for phase in stream.phases:
        learner.train(phase)
        steps.append(learner.steps)
        data, _ = stream.phase_data(phase)
        assert evaluate(learner.model, data, learner.loss, "argmax")[0] <= target
    taken = [b - a for a, b in pairwise(steps)]
    assert all(0 < n < 100 * math.ceil(50 / 16) and n % stop_check == 0 for n in taken)
    if stop_check == 1:  # one step fewer would not have done
        again = make_learner(stream, epochs=100, momentum=0.0)
        losses = []

        class Watch(SupervisedPlugin):
            def after_update(self, strategy, **kwargs):
                losses.append(evaluate(strategy.model, stream.tasks[0].train, again.loss, "argmax")[0])

        again.strategy.plugins.insert(0, Watch())
        again.train(stream.phases[0])
        assert next(k for k, loss in enumerate(losses, start=1) if loss <= target) == taken[0]


def test_a_stop_at_the_very_last_step_does_not_reach_the_next_phase(stream, make_learner):
    learner = make_learner(stream, epochs=1, stop_loss=1e6, stop_check=math.ceil(50 / 16))
    for k, phase in enumerate(stream.phases, start=1):
        learner.train(phase)
        assert learner.steps == k * math.ceil(50 / 16)


@pytest.mark.parametrize("step", [1, 3, 13])
def test_divergence_names_the_first_step_whose_loss_is_not_finite(stream, make_learner, step):
    class Saboteur(SupervisedPlugin):
        def before_forward(self, strategy, **kwargs):
            if strategy.clock.train_iterations + 1 == step:
                next(strategy.model.parameters()).data.fill_(math.nan)

    watch = StepWatch(stream)
    learner = make_learner(stream, plugins=(Saboteur(), watch))
    with pytest.raises(Diverged) as caught:
        _train(learner)
    assert caught.value.step == step
    assert caught.value.task == f"task{(step - 1) // 8}"  # two epochs of four minibatches a phase
    assert len(watch.losses) == step - 1
    assert all(map(math.isfinite, watch.losses))


def test_the_watch_records_every_steps_loss_and_every_epochs_mean(stream, make_learner):
    spy, epochs = Spy(), []
    watch = StepWatch(stream, lambda *told: epochs.append(told))
    learner = make_learner(stream, plugins=(spy, watch))
    for phase in stream.phases[:2]:
        learner.train(phase)
    assert watch.losses == spy.losses
    assert [told[:2] for told in epochs] == [("task0", 1), ("task0", 2), ("task1", 1), ("task1", 2)]
    assert epochs[3][2] == pytest.approx(sum(spy.losses[12:]) / 4)


# --- losses and accuracy ----------------------------------------------------------------------------------


def test_losses_are_the_formulas_in_their_description(stream):
    f, y = torch.tensor([[1.0, 0, 0, 2], [0, 3, 0, 0]]), torch.tensor([3, 0])
    one = 0.5 * (1 + 1)  # (1, 0, 0, 2 − 1)
    two = 0.5 * (1 + 9)
    assert Training(loss="squared_error").make_loss(stream)(f, y).item() == pytest.approx((one + two) / 2)
    assert Training(loss="sum_squared_error").make_loss(stream)(f, y).item() == pytest.approx(one + two)
    log_softmax = [
        row[k].item() - math.log(sum(math.exp(v) for v in row)) for row, k in zip(f, y, strict=True)
    ]
    assert Training().make_loss(stream)(f, y).item() == pytest.approx(-sum(log_softmax) / 2)


def test_cross_entropy_is_refused_for_values(seeds):
    from clntk import registry

    values = registry.get("stream", "context_blobs")(seeds)
    with pytest.raises(DataError, match=r"strategy.loss: expected squared_error.*found cross_entropy"):
        Training(loss="cross_entropy").make_loss(values)
    f, y = torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [4.0]])
    assert Training().make_loss(values)(f, y).item() == pytest.approx(0.5 * 4 / 2)


def test_sign_accuracy_drops_targets_of_zero():
    f, y = torch.tensor([[0.1], [-3.0], [2.0], [5.0]]), torch.tensor([[2.0], [1.0], [0.0], [1.0]])
    assert accuracy(f, y, rule="sign") == pytest.approx(2 / 3)


def test_adam_and_weight_decay_reach_torch(stream, make_model):
    model = make_model(stream)
    adam = Training(optimizer="adam", lr=0.3, weight_decay=0.1).make_optimizer(model, 0.5)
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["weight_decay"]) == (0.15, 0.1)
    sgd = Training(momentum=0.8, weight_decay=0.1).make_optimizer(model, 1.0)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.8, 0.1)


def test_frozen_parameters_are_not_trained(stream, make_learner, weights_of, same):
    learner = make_learner(stream, weight_decay=0.1)
    frozen = learner.model.hidden1.linear.weight.requires_grad_(False)
    before = frozen.clone()
    learner.train(stream.phases[0])
    assert torch.equal(frozen, before)


def test_a_split_moves_and_selects_as_one():
    split = Split(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 2]))
    chosen = split.subset(torch.tensor([2, 0]))
    assert chosen.x.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert chosen.y.tolist() == [2, 0]


@pytest.mark.parametrize("many", [1, 3, 64])
def test_the_accuracy_of_every_minibatch_is_recorded(stream, make_learner, monkeypatch, many):
    class Plain(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.seen = []

        def after_training_iteration(self, strategy, **kwargs):
            self.seen.append((strategy.mb_output.argmax(1) == strategy.mb_y).float().mean().item())

    monkeypatch.setattr("clntk.strategies.avalanche.watch.MANY", many)
    watch, plain = StepWatch(stream), Plain()
    learner = make_learner(stream, plugins=(watch, plain))
    for phase in stream.phases:
        learner.train(phase)
        assert len(watch.losses) == len(watch.accuracies) == learner.steps
    assert watch.accuracies == pytest.approx(plain.seen)
    assert min(watch.accuracies) < 0.5 < max(watch.accuracies)


def test_accuracy_without_a_rule_is_not_a_number_and_targets_of_zero_do_not_count():
    f, y = torch.tensor([[1.0], [-2.0], [3.0]]), torch.tensor([[2.0], [1.0], [0.0]])
    assert accuracy(f, y, "none").isnan()
    assert accuracy(f, y, "sign") == 0.5
    assert accuracy(f[2:], y[2:], "sign").isnan()


def test_tensors_are_taken_whole_and_are_those_of_the_rows(make_stream, monkeypatch):
    stream = make_stream(2)
    first, second = (experience.dataset for experience in stream.benchmark.train_stream)
    mixed = concat_datasets([first.subset([4, 1]), second, first.subset([0])])
    for dataset in (first, first.train(), first.subset([7, 3, 3]), mixed):
        whole = dataset_tensors(dataset)
        with monkeypatch.context() as patch:
            patch.setattr("clntk.strategies.avalanche.loader._whole", lambda dataset: None)
            rows = dataset_tensors(dataset)
        for a, b in zip(whole, rows, strict=True):
            assert torch.equal(a, b)
            assert a.dtype == b.dtype
    assert dataset_tensors(mixed)[2].tolist() == [0, 0, *[1] * 50, 0]


def test_a_dataset_that_shows_other_rows_than_its_tensors_is_read_row_by_row(stream):
    plain = stream.benchmark.train_stream[0].dataset
    seen = plain.replace_current_transform_group((lambda x: x + 1, None))
    torch.testing.assert_close(dataset_tensors(seen)[0], stream.tasks[0].train.x + 1)
