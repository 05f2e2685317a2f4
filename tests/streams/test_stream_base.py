"""Task streams: what they refuse, the order they train in, and the Avalanche benchmark they become."""

from dataclasses import replace

import pytest
import torch

from clntk import registry
from clntk.errors import DataError
from clntk.streams.base import Phase, Split, TaskStream, draw_probe, training_order


def _spoiled(task, part, *, x=None, y=None):
    split = getattr(task, part)
    return replace(task, **{part: Split(split.x if x is None else x, split.y if y is None else y)})


def _stream(*tasks, **options):
    return TaskStream(
        tuple(tasks), training_order([t.name for t in tasks], "blocked"), **{"outputs": 4, **options}
    )


# --- what is refused --------------------------------------------------------------------------------------


def test_one_task_is_too_few(make_task):
    with pytest.raises(DataError, match=r"expected at least two tasks, found 1; .*raise n_tasks"):
        _stream(make_task())


@pytest.mark.parametrize("part", ["train", "test", "probe"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused(make_task, part, value):
    good, bad = make_task("good"), make_task("bad", seed=1)
    x = getattr(bad, part).x.clone()
    x[1, 2] = value
    with pytest.raises(DataError, match=f"{part} set of bad: expected finite inputs"):
        _stream(good, _spoiled(bad, part, x=x))


def test_inputs_of_another_shape_are_refused(make_task):
    with pytest.raises(
        DataError, match=r"train set of bad: expected inputs of shape \(12,\) as in good, found \(11,\)"
    ):
        _stream(make_task("good"), make_task("bad", features=11))


def test_unequal_probe_sets_are_refused(make_task):
    with pytest.raises(DataError, match="expected 6 probes in bad as in good, found 5"):
        _stream(make_task("good"), make_task("bad", probes=5))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.full((50,), 4), "expected labels 0 to 3, found 4 to 4"),
        (torch.full((50,), -1), "expected labels 0 to 3, found -1 to -1"),
        (torch.zeros(50), r"expected a vector of integer labels, found torch.float32 of shape \(50,\)"),
        (torch.zeros(50, 1, dtype=torch.long), r"found torch.int64 of shape \(50, 1\)"),
        (torch.zeros(49, dtype=torch.long), "expected as many inputs as targets, and some; found 50 and 49"),
    ],
)
def test_labels_that_do_not_fit_are_refused(make_task, y, message):
    with pytest.raises(DataError, match=message):
        _stream(make_task("good"), _spoiled(make_task("bad"), "train", y=y))


def test_an_empty_set_is_refused(make_task):
    with pytest.raises(DataError, match=r"test set of bad: .*and some; found 0 and 0"):
        _stream(
            make_task("good"),
            _spoiled(make_task("bad"), "test", x=torch.zeros(0, 12), y=torch.zeros(0).long()),
        )


@pytest.mark.parametrize("y", [torch.zeros(50), torch.zeros(50, 3), torch.full((50, 4), float("nan"))])
def test_values_that_do_not_fit_are_refused(make_task, y):
    tasks = [make_task("a"), make_task("b")]
    for part in ("train", "test", "probe"):
        tasks = [_spoiled(task, part, y=torch.zeros(len(getattr(task, part)), 4)) for task in tasks]
    assert _stream(*tasks, target="value").target == "value"
    with pytest.raises(DataError, match=r"train set of b: expected finite targets of shape \(examples, 4\)"):
        _stream(tasks[0], _spoiled(tasks[1], "train", y=y), target="value")


# --- orders of training -----------------------------------------------------------------------------------


def test_schedules_are_phases():
    names = ["x", "y", "z"]
    assert training_order(names, "blocked") == (Phase("x", (0,)), Phase("y", (1,)), Phase("z", (2,)))
    assert training_order(names, "joint") == (Phase("joint", (0, 1, 2)),)
    assert training_order(names, "interleaved") == (Phase("interleaved", (0, 1, 2), pure_batches=True),)


def test_a_phase_holds_its_tasks_training_data_with_labels(stream):
    data, labels = stream.phase_data(Phase("last two", (2, 1)))
    assert torch.equal(data.x, torch.cat([stream.tasks[2].train.x, stream.tasks[1].train.x]))
    assert torch.equal(data.y, torch.cat([stream.tasks[2].train.y, stream.tasks[1].train.y]))
    assert labels.tolist() == [2] * 50 + [1] * 50


def test_another_schedule_keeps_the_tasks(stream):
    joint = stream.scheduled("joint")
    assert joint.tasks is stream.tasks
    assert len(joint.benchmark.train_stream) == 1
    assert len(stream.benchmark.train_stream) == 3


def test_probes_are_drawn_by_the_generator_alone(stream):
    pool = stream.tasks[0].test

    def drawn(seed):
        return draw_probe(pool, 8, torch.Generator().manual_seed(seed)).x

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


# --- the Avalanche benchmark ------------------------------------------------------------------------------


def test_the_benchmark_is_avalanches(stream):
    from avalanche.benchmarks.scenarios import CLScenario
    from avalanche.benchmarks.utils import TaskAwareSupervisedClassificationDataset

    benchmark = stream.benchmark
    assert isinstance(benchmark, CLScenario)
    assert benchmark is stream.benchmark
    for experiences, part in ((benchmark.train_stream, "train"), (benchmark.test_stream, "test")):
        assert len(experiences) == 3
        for t, (experience, task) in enumerate(zip(experiences, stream.tasks, strict=True)):
            split = getattr(task, part)
            assert isinstance(experience.dataset, TaskAwareSupervisedClassificationDataset)
            assert experience.current_experience == t
            assert (experience.task_label, experience.task_labels) == (t, [t])
            assert len(experience.dataset) == len(split)
            x, y, label = experience.dataset[5]
            assert torch.equal(x, split.x[5])
            assert (y, type(y), label) == (split.y[5].item(), int, t)
            assert list(experience.dataset.targets) == split.y.tolist()


def test_class_timelines_are_sorted_lists(seeds):
    stream = registry.get("stream", "split_digits")(seeds, n_tasks=3, n_probe=4)
    first, second, third = stream.benchmark.train_stream
    assert [e.classes_in_this_experience for e in (first, second, third)] == [
        [0, 1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
    ]
    assert second.previous_classes == [0, 1, 2, 3]
    assert second.classes_seen_so_far == [0, 1, 2, 3, 4, 5, 6]
    assert second.future_classes == [7, 8, 9]
    assert [e.classes_in_this_experience for e in stream.benchmark.test_stream][2] == [7, 8, 9]


def test_a_phase_of_all_tasks_is_one_experience_with_their_labels(stream):
    joint = stream.scheduled("interleaved").benchmark
    (experience,) = joint.train_stream
    assert len(experience.dataset) == 150
    assert sorted(experience.task_labels) == [0, 1, 2]
    assert [experience.dataset[i][2] for i in (0, 60, 149)] == [0, 1, 2]
    assert len(joint.test_stream) == 3


def test_values_come_as_tensors_without_a_class_timeline(seeds):
    stream = registry.get("stream", "context_blobs")(seeds)
    experience = stream.benchmark.train_stream[1]
    x, y, label = experience.dataset[7]
    assert torch.equal(x, stream.tasks[1].train.x[7])
    assert torch.equal(y, stream.tasks[1].train.y[7])
    assert label == 1
    assert not hasattr(experience, "classes_in_this_experience")


def test_building_the_benchmark_touches_no_generator(make_stream):
    stream, state = make_stream(), torch.get_rng_state()
    stream.benchmark  # noqa: B018
    assert torch.equal(torch.get_rng_state(), state)


def test_avalanches_own_multi_head_network_trains_on_the_benchmark(stream):
    from avalanche.models import MultiHeadClassifier, MultiTaskModule
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin

    class Net(MultiTaskModule):
        def __init__(self):
            super().__init__()
            self.head = MultiHeadClassifier(12, 2)

        def forward(self, x, task_labels):
            return self.head(x, task_labels)

    net = Net()
    strategy = Naive(
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=25,
        evaluator=EvaluationPlugin(),
    )
    for experience in stream.benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    assert len(net.head.classifiers) == 3
