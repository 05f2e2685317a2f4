"""The two-context task, number by number, against its description written out slowly."""

import math

import pytest
import torch

from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds

context_blobs = registry.get("stream", "context_blobs")


def _described():
    """Inputs and targets of contexts A and B as the paper's methods put them, one number at a time."""
    centres = [0.2, 0.35, 0.5, 0.65, 0.8]
    pixels = [0.0, 0.25, 0.5, 0.75, 1.0]
    images = []
    for row in range(5):
        for column in range(5):
            image = []
            for y in pixels:
                for x in pixels:
                    distance = math.hypot(y - centres[row], x - centres[column])
                    image.append(math.exp(-(distance**2) / (2 * 0.08)))
            images.append([value / max(image) for value in image])
    both_contexts = images + images
    norm = math.sqrt(sum(value**2 for image in both_contexts for value in image))
    one = 1 / math.sqrt(50)
    inputs = {
        "A": [[v / norm for v in image] + [one, 0.0] for image in images],
        "B": [[v / norm for v in image] + [0.0, one] for image in images],
    }
    targets = {
        "A": [[column - 2.0] for _ in range(5) for column in range(5)],
        "B": [[row - 2.0] for row in range(5) for _ in range(5)],
    }
    return inputs, targets


def test_inputs_and_targets_are_those_described(seeds):
    inputs, targets = _described()
    stream = context_blobs(seeds)
    assert stream.task_names == ["A", "B"]
    for task in stream.tasks:
        torch.testing.assert_close(task.train.x, torch.tensor(inputs[task.name]), rtol=1e-5, atol=1e-7)
        assert task.train.y.tolist() == targets[task.name]


def test_each_block_of_the_fifty_inputs_has_norm_one(seeds):
    stream = context_blobs(seeds)
    x = torch.cat([task.train.x for task in stream.tasks])
    assert x.shape == (50, 27)
    for start, stop in stream.input_groups.values():
        assert x[:, start:stop].norm().item() == pytest.approx(1, abs=1e-6)
    assert stream.input_groups == {"stimulus": (0, 25), "context": (25, 27)}
    assert stream.shape.input_groups == stream.input_groups


def test_all_sets_are_the_same_whatever_the_seed(seeds):
    for task, other in zip(context_blobs(seeds).tasks, context_blobs(Seeds(7)).tasks, strict=True):
        for part in ("train", "test", "probe"):
            assert torch.equal(getattr(task, part).x, task.train.x)
            assert torch.equal(getattr(task, part).x, getattr(other, part).x)


def test_order_changes_the_training_and_nothing_else(seeds):
    ab, ba = context_blobs(seeds), context_blobs(seeds, order="BA")
    assert [phase.name for phase in ba.phases] == ["B", "A"]
    for a, b in zip(ab.tasks, reversed(ba.tasks), strict=True):
        assert a.name == b.name
        assert torch.equal(a.train.x, b.train.x)
        assert torch.equal(a.train.y, b.train.y)


def test_an_absent_context_leaves_its_columns_empty_and_the_rest_alone(seeds):
    fixed, absent = context_blobs(seeds), registry.get("stream", "context_blobs")(seeds, context="absent")
    assert absent.shape == fixed.shape
    for a, b in zip(absent.tasks, fixed.tasks, strict=True):
        assert not a.train.x[:, 25:].any()
        assert torch.equal(a.train.x[:, :25], b.train.x[:, :25])
        assert torch.equal(a.train.y, b.train.y)
    assert torch.equal(
        absent.tasks[0].train.x, absent.tasks[1].train.x
    )  # the same inputs ask for two answers


def test_a_context_can_be_sluggish_if_there_is_one(seeds):
    assert context_blobs(seeds).context_rate == 1
    assert context_blobs(seeds, context_rate=0.05).context_rate == 0.05
    with pytest.raises(DataError, match=r"context_rate: expected a stream with context inputs.*stream.cue"):
        context_blobs(seeds, context_rate=0.05, context="absent")


def test_twenty_stimuli_a_context_count_and_half_are_right_by_chance(seeds):
    stream = context_blobs(seeds)
    assert (stream.target, stream.accuracy, stream.outputs, stream.chance) == ("value", "sign", 1, 0.5)
    for task in stream.tasks:
        assert (task.test.y != 0).sum() == 20
        assert (task.test.y > 0).sum() == 10


def test_the_rule_of_one_context_gets_the_floor_in_the_other(seeds):
    """Of A's 20 stimuli, B's rule agrees on the 8 congruent ones and answers 0 on 4."""
    from clntk.strategies.training import accuracy

    a, b = context_blobs(seeds).tasks
    assert accuracy(a.test.y, a.test.y, rule="sign") == 1
    assert accuracy(b.test.y, a.test.y, rule="sign") == pytest.approx(8 / 20)


def test_blobs_as_they_are_a_larger_context_and_centred(seeds):
    make = registry.get("stream", "context_blobs")
    plain = make(seeds, pixels="peak", context_value=2.0)
    for task, cue in zip(plain.tasks, ([2.0, 0.0], [0.0, 2.0]), strict=True):
        torch.testing.assert_close(task.train.x[:, :25].max(1).values, torch.ones(25))
        assert task.train.x[:, 25:].tolist() == [cue] * 25
    centred = make(seeds, pixels="peak", context_value=2.0, centre=True)
    x, moved = (torch.cat([task.train.x for task in stream.tasks]) for stream in (plain, centred))
    torch.testing.assert_close(moved, x - x.mean(0), atol=1e-6, rtol=0)
    absent = make(seeds, context="absent", centre=True)
    assert not any(task.train.x[:, 25:].any() for task in absent.tasks)
