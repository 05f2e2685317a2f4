"""How tasks are presented: heads, cues, contexts and orders as options of every stream."""

from dataclasses import replace

import pytest
import torch

from clntk import registry
from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import Split, Task, TaskStream
from clntk.streams.presentation import Presentation, cued, multi_head

split_digits = registry.get("stream", "split_digits")
permuted_digits = registry.get("stream", "permuted_digits")


def _same_data(a, b):
    return all(
        torch.equal(getattr(a, part).x, getattr(b, part).x)
        and torch.equal(getattr(a, part).y, getattr(b, part).y)
        for part in ("train", "test", "probe")
    )


# --- an axis of every stream ------------------------------------------------------------------------------


def test_a_users_own_stream_has_all_options(make_stream, seeds):
    @register("stream")
    def mine(seeds, *, n_tasks: int = 2):
        """Mine."""
        return make_stream(n_tasks)

    entry = registry.get("stream", "mine")
    assert list(entry.schema.model_fields) == [
        "n_tasks", "schedule", "cycles", "mixing", "mixing_steps", "head", "cue", "looks", "context_rate"
    ]  # fmt: skip
    stream = entry(seeds, n_tasks=3, schedule="cyclic", cycles=4, head="multi", cue=2.0, context_rate=0.5)
    assert (len(stream.tasks), len(stream.phases), stream.outputs) == (3, 12, 12)
    assert stream.shape.inputs == (15,)
    assert stream.context_rate == 0.5


def test_left_alone_a_stream_stays_as_its_function_made_it(make_stream, seeds):
    stream = make_stream(schedule="joint")
    assert Presentation()(stream, seeds) is stream


def test_a_stream_that_is_none_is_refused(seeds):
    with pytest.raises(DataError, match="stream: expected a TaskStream back from its function, found list"):
        Presentation()([], seeds)


@pytest.mark.parametrize("schedule", ["interleaved", "joint", "cyclic", "gradual"])
def test_a_schedule_is_the_streams(make_stream, seeds, schedule):
    stream = make_stream()
    shown = Presentation(schedule=schedule)(stream, seeds)
    assert shown.phases == stream.scheduled(schedule, seeds).phases
    assert shown.tasks is stream.tasks


def test_a_schedules_own_options_reach_it(make_stream, seeds):
    stream = make_stream(2)
    assert len(Presentation(schedule="cyclic")(stream, seeds).phases) == 4
    assert len(Presentation(schedule="cyclic", cycles=3)(stream, seeds).phases) == 6
    assert len(Presentation(schedule="gradual")(stream, seeds).phases) == 6
    blurred = Presentation(schedule="gradual", mixing=1.0, mixing_steps=2)(stream, seeds)
    assert [len(blurred.phase_data(phase)[0]) for phase in blurred.phases] == [25, 25, 25, 25]


@pytest.mark.parametrize(
    ("option", "of", "schedule"),
    [
        ({"cycles": 2}, "cyclic", "blocked"),
        ({"cycles": 2}, "cyclic", "gradual"),
        ({"mixing": 0.5}, "gradual", "blocked"),
        ({"mixing_steps": 4}, "gradual", "cyclic"),
    ],
)
def test_an_option_of_another_schedule_is_refused(make_stream, seeds, option, of, schedule):
    (name,) = option
    with pytest.raises(
        DataError,
        match=rf"stream.{name}: expected schedule '{of}', which alone it is for, found '{schedule}'",
    ):
        Presentation(schedule=schedule, **option)(make_stream(), seeds)


# --- heads ------------------------------------------------------------------------------------------------


def test_tasks_with_classes_of_their_own_keep_them(seeds):
    single, multi = split_digits(seeds, n_tasks=3), split_digits(seeds, n_tasks=3, head="multi")
    assert multi.heads == ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert multi.outputs == 10
    assert multi.chance == pytest.approx((1 / 4 + 1 / 3 + 1 / 3) / 3)
    assert single.heads is None
    assert all(_same_data(a, b) for a, b in zip(single.tasks, multi.tasks, strict=True))


def test_shuffled_classes_make_heads_that_do_not_lie_together(seeds):
    multi = split_digits(seeds, shuffle_classes=True, head="multi")
    for head, task in zip(multi.heads, multi.tasks, strict=True):
        assert head == tuple(task.train.y.unique().tolist())
    assert any(b - a != 1 for a, b in multi.heads)


def test_tasks_with_the_same_classes_get_outputs_of_their_own(seeds):
    single, multi = permuted_digits(seeds, n_tasks=3), permuted_digits(seeds, n_tasks=3, head="multi")
    assert multi.outputs == 30
    assert multi.heads == (tuple(range(10)), tuple(range(10, 20)), tuple(range(20, 30)))
    assert multi.chance == single.chance == 0.1
    for t, (a, b) in enumerate(zip(single.tasks, multi.tasks, strict=True)):
        for part in ("train", "test", "probe"):
            assert torch.equal(getattr(b, part).x, getattr(a, part).x)
            assert torch.equal(getattr(b, part).y, getattr(a, part).y + 10 * t)


def test_one_shared_class_is_enough_for_outputs_of_ones_own(make_task):
    def only(name, seed, kept):
        task = make_task(name, seed=seed, n=200)
        parts = {
            part: split.subset(torch.isin(split.y, torch.tensor(kept))[:].nonzero()[:, 0][:2])
            for part, split in task.parts.items()
        }
        return Task(name, **parts)

    apart = TaskStream((only("a", 0, [0, 1]), only("b", 1, [2, 3])), outputs=4)
    meet = TaskStream((only("a", 0, [0, 1]), only("b", 1, [1, 2])), outputs=4)
    assert multi_head(apart).heads == ((0, 1), (2, 3))
    assert multi_head(meet).heads == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_values_are_zero_in_the_outputs_of_other_tasks(seeds):
    blobs = registry.get("stream", "context_blobs")
    single, multi = blobs(seeds), blobs(seeds, head="multi")
    assert (multi.outputs, multi.heads, multi.accuracy, multi.chance) == (2, ((0,), (1,)), "sign", 0.5)
    for t, (a, b) in enumerate(zip(single.tasks, multi.tasks, strict=True)):
        assert torch.equal(b.train.y[:, t], a.train.y[:, 0])
        assert not b.train.y[:, 1 - t].any()


def test_a_head_that_has_nothing_to_decide_is_refused(seeds):
    with pytest.raises(DataError, match=r"head: expected at least two classes a task, found a task of one"):
        split_digits(seeds, n_tasks=6, n_probe=10, head="multi")
    assert split_digits(seeds, n_tasks=6, n_probe=10).heads is None


def test_heads_are_given_once(seeds):
    multi = split_digits(seeds, head="multi")
    with pytest.raises(DataError, match=r"head: expected a stream with a single head"):
        multi_head(multi)


# --- cues and contexts ------------------------------------------------------------------------------------


def test_a_cue_is_a_column_a_task_behind_the_inputs(stream):
    shown = cued(stream, 3.0)
    assert shown.shape.inputs == (15,)
    assert shown.input_groups == {"stimulus": (0, 12), "context": (12, 15)}
    for t, (task, plain) in enumerate(zip(shown.tasks, stream.tasks, strict=True)):
        for part in ("train", "test", "probe"):
            x = getattr(task, part).x
            assert torch.equal(x[:, :12], getattr(plain, part).x)
            assert torch.equal(x[:, 12:], 3.0 * torch.eye(3)[t].expand(len(x), 3))
            assert torch.equal(getattr(task, part).y, getattr(plain, part).y)


def test_groups_that_a_stream_names_itself_stay(stream):
    named = replace(stream, input_groups={"stimulus": (0, 10), "noise": (10, 12)})
    assert cued(named, 1.0).input_groups == {"stimulus": (0, 10), "noise": (10, 12), "context": (12, 15)}


def test_images_have_no_column_for_a_cue(seeds):
    with pytest.raises(
        DataError, match=r"cue: expected flat inputs.*found inputs of shape \(1, 8, 8\).*stream.flatten=true"
    ):
        registry.get("stream", "permuted_images")(seeds, flatten=False, cue=1.0)


def test_a_stream_with_a_context_takes_no_second(seeds):
    with pytest.raises(
        DataError, match="cue: expected inputs without a context, found that the stream brings"
    ):
        registry.get("stream", "context_blobs")(seeds, cue=1.0)


def test_only_a_context_can_be_sluggish(seeds):
    shown = permuted_digits(seeds, cue=1.0, context_rate=0.05)
    assert (shown.context_rate, shown.input_groups["context"]) == (0.05, (64, 69))
    with pytest.raises(DataError, match="context_rate: expected a stream with context inputs"):
        permuted_digits(seeds, context_rate=0.05)
    with pytest.raises(DataError, match=r"context_rate: .*inputs of shape \(20, 6\)"):
        registry.get("stream", "cued_sequences")(seeds, context_rate=0.05)


def test_options_work_together_and_change_no_data(seeds):
    plain = permuted_digits(seeds, n_tasks=2)
    shown = permuted_digits(seeds, n_tasks=2, head="multi", cue=0.5, schedule="gradual")
    for t, (a, b) in enumerate(zip(plain.tasks, shown.tasks, strict=True)):
        undone = {part: Split(split.x[:, :64], split.y - 10 * t) for part, split in b.parts.items()}
        assert _same_data(a, Task(b.name, **undone))
    assert len(shown.phases) == 6


@pytest.mark.parametrize("seed", [0, 1])
def test_presentation_draws_from_the_runs_seed_alone(seed):
    def rows():
        shown = permuted_digits(Seeds(seed), n_tasks=2, schedule="gradual")
        return [r for phase in shown.phases for r in phase.rows]

    assert all(torch.equal(a, b) for a, b in zip(rows(), rows(), strict=True))


def test_looks_cut_every_phase_of_any_schedule(make_stream, seeds):
    cyclic = Presentation(schedule="cyclic", looks=(1, 4))(make_stream(2), seeds)
    assert [phase.name for phase in cyclic.phases][:4] == ["task0@1", "task0@4", "task0", "task1@1"]
    assert len(cyclic.phases) == 12
    assert cyclic.phases[-1].stretch == "task1.2"
