"""Task streams: what they refuse, what they fill in, and the Avalanche benchmark they become."""

from dataclasses import replace

import pytest
import torch

from clntk import registry
from clntk.errors import DataError
from clntk.streams.base import Split, TaskStream
from clntk.streams.draws import draw_probe, draws
from clntk.streams.phases import Phase, training_order


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


# --- what is left out -------------------------------------------------------------------------------------


def _valued(task, width):
    """The task with float targets of so many outputs."""
    for part, split in task.parts.items():
        y = split.x[:, :width].clone()
        task = _spoiled(task, part, y=y)
    return task


def test_order_outputs_and_accuracy_have_defaults(make_task):
    tasks = (make_task("a"), make_task("b"))
    plain = TaskStream(tasks)
    assert plain.phases == training_order(["a", "b"], "blocked")
    assert (plain.outputs, plain.accuracy) == (4, "argmax")
    assert TaskStream(tasks, "joint").phases == training_order(["a", "b"], "joint")
    assert TaskStream(tasks, "blocked", 7).outputs == 7
    values = TaskStream(tuple(_valued(task, 3) for task in tasks), target="value")
    assert (values.outputs, values.accuracy) == (3, "none")


def test_outputs_count_labels_that_only_a_test_set_has(make_task):
    late = make_task("late")
    late = _spoiled(late, "test", y=late.test.y + 5)
    assert TaskStream((make_task("a"), late)).outputs == 9


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "init", "..", "a\0"])
def test_names_must_be_able_to_name_a_file(make_task, name):
    with pytest.raises(DataError, match="expected task names that can name a file, and not 'init'"):
        TaskStream((make_task(name), make_task("b")))


def test_names_are_used_once(make_task):
    with pytest.raises(DataError, match="expected every task to have a name of its own, found 'a' twice"):
        TaskStream((make_task("a"), make_task("a", seed=1)))
    with pytest.raises(DataError, match="expected every phase to have a name of its own, found 'x' twice"):
        TaskStream((make_task("a"), make_task("b")), (Phase("x", (0,)), Phase("x", (1,))))


@pytest.mark.parametrize("tasks", [(), (2,), (0, -1)])
def test_phases_are_of_the_streams_tasks(make_task, tasks):
    pair = (make_task("a"), make_task("b"))
    with pytest.raises(DataError, match=r"phase x: expected tasks of 0 to 1, and some; found \("):
        TaskStream(pair, (Phase("x", tasks),))
    with pytest.raises(DataError, match="expected phases to train in, found none"):
        TaskStream(pair, ())


def test_inputs_must_be_floats(make_task):
    task = make_task("b")
    with pytest.raises(
        DataError, match=r"test set of b: expected inputs of floats, found torch.int64; .*float\(\)"
    ):
        TaskStream((make_task("a"), _spoiled(task, "test", x=task.test.x.long())))


# --- accuracy, heads, context, angles ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "accuracy", "message"),
    [
        (1, "argmax", "expected several outputs for 'argmax' of float targets, found one"),
        (3, "sign", "expected float targets of a single output for 'sign', found 3 outputs"),
    ],
)
def test_an_accuracy_that_float_targets_do_not_have_is_refused(make_task, width, accuracy, message):
    tasks = tuple(_valued(make_task(name), width) for name in "ab")
    with pytest.raises(DataError, match=message):
        TaskStream(tasks, target="value", accuracy=accuracy)
    allowed = "sign" if width == 1 else "argmax"
    assert TaskStream(tasks, target="value", accuracy=allowed).accuracy == allowed


def test_labels_have_no_sign(make_task):
    with pytest.raises(DataError, match="found 4 outputs and targets that are a class"):
        TaskStream((make_task("a"), make_task("b")), accuracy="sign")


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (((0, 1, 2, 3),), "expected one for each of 2 tasks, found 1"),
        (
            ((0, 1, 2, 3), (0, 1, 2, 4)),
            r"b: expected different outputs of 0 to 3, and some; found \(0, 1, 2, 4\)",
        ),
        (((0, 1, 2, 3), (0, 1, 2, 2)), "b: expected different outputs"),
        (((0, 1, 2, 3), ()), "b: expected different outputs"),
        (((0, 1, 2), (0, 1, 2, 3)), r"a: expected labels among its outputs \(0, 1, 2\), found \[3\] besides"),
    ],
)
def test_heads_that_do_not_fit_are_refused(make_task, heads, message):
    with pytest.raises(DataError, match=f"stream.heads: {message}"):
        TaskStream((make_task("a"), make_task("b")), outputs=4, heads=heads)


@pytest.mark.parametrize("part", ["train", "test", "probe"])
def test_a_head_holds_the_labels_of_every_set(make_task, part):
    task = make_task("a")
    for each, split in task.parts.items():
        task = _spoiled(task, each, y=split.y.clamp(max=3 if each == part else 2))
    with pytest.raises(DataError, match=r"a: expected labels among its outputs .* found \[3\] besides"):
        TaskStream((task, make_task("b")), heads=((0, 1, 2), (0, 1, 2, 3)))


def test_a_sluggish_context_needs_a_rate_and_a_context(make_task):
    tasks = (make_task("a"), make_task("b"))
    groups = {"context": (10, 12)}
    assert TaskStream(tasks, input_groups=groups, context_rate=0.1).context_rate == 0.1
    for rate in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(DataError, match=r"context_rate: expected a rate in \(0, 1\]"):
            TaskStream(tasks, input_groups=groups, context_rate=rate)
    with pytest.raises(DataError, match="context_rate: expected a stream with context inputs"):
        TaskStream(tasks, context_rate=0.1)


def test_input_groups_are_columns_of_the_inputs(make_task):
    for columns in ((10, 13), (-1, 3), (4, 4)):
        with pytest.raises(DataError, match="input_groups: expected columns within 0 to 12 for 'context'"):
            TaskStream((make_task("a"), make_task("b")), input_groups={"context": columns})


def test_angles_are_between_each_two_tasks(make_task):
    with pytest.raises(DataError, match=r"stream.angles: expected 2 × 2 angles in degrees"):
        TaskStream((make_task("a"), make_task("b")), angles=((0.0, 90.0),))


def test_probes_are_drawn_by_the_generator_alone(stream):
    pool = stream.tasks[0].test

    def drawn(seed):
        return draw_probe(pool, 8, torch.Generator().manual_seed(seed)).x

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_a_named_draw_is_its_own(seeds):
    first, other = draws(seeds, "one thing").random(5), draws(seeds, "another").random(5)
    assert draws(seeds, "one thing").random(5).tolist() == first.tolist()
    assert not set(first) & set(other)
    assert not set(first) & set(seeds.numpy("data").random(5))


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
