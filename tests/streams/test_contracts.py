"""What every registered stream owes: a new one is tested by being registered."""

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch

from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.streams.base import Task
from clntk.streams.phases import Schedule
from clntk.streams.presentation import Presentation

NAMES = registry.names("stream")
SCHEDULES = get_args(Schedule)
CONTEXT_OF_ITS_OWN = {"context_blobs", "cued_sequences"}


@pytest.fixture(scope="module")
def built():
    return {name: registry.get("stream", name)(Seeds(0)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_two_tasks_or_more_of_finite_numbers_and_probes_within_the_test_set(name, built):
    stream = built[name]
    assert len(stream.tasks) >= 2
    for task in stream.tasks:
        assert all(
            split.x.isfinite().all() and split.x.dtype == torch.float32 for split in task.parts.values()
        )
        test = set(map(tuple, task.test.x.flatten(1).tolist()))
        assert set(map(tuple, task.probe.x.flatten(1).tolist())) <= test
    assert (0 <= stream.chance < 1) == (stream.accuracy != "none")


@pytest.mark.parametrize("name", NAMES)
def test_all_is_drawn_from_the_seed_and_nothing_else(name, built):
    state = torch.get_rng_state()
    again, other = (registry.get("stream", name)(Seeds(seed)) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    fixed = registry.get("stream", name).traits.get("fixed", False)
    for a, b, c in zip(built[name].tasks, again.tasks, other.tasks, strict=True):
        for part in ("train", "test", "probe"):
            x, same, others = (getattr(task, part) for task in (a, b, c))
            assert torch.equal(x.x, same.x)
            assert torch.equal(x.y, same.y)
            assert (x.x.shape == others.x.shape and torch.equal(x.x, others.x)) == fixed


@pytest.mark.parametrize("name", NAMES)
def test_similarity_is_known_for_each_two_tasks(name, built):
    found = built[name].descriptors
    n = len(built[name].tasks)
    for variable in ("label_overlap", "input_overlap", "mean_angle", "task_angle"):
        values = found[variable].values
        assert values.shape == (n, n)
        assert ((values == values.T) | (values != values)).all()
    assert found.input_overlap.values.diagonal() == pytest.approx(1)
    assert not found.mean_angle.values.diagonal().any()
    assert ((found.input_overlap >= 0) & (found.input_overlap <= 1)).all()


def _small(stream):
    """The stream with a few examples of each class, enough for every schedule."""

    def few(split, n):
        if stream.target == "value":
            return split.subset(torch.arange(min(n, len(split))))
        return split.subset(torch.cat([(split.y == label).nonzero()[:4, 0] for label in split.y.unique()]))

    tasks = [Task(t.name, few(t.train, 24), few(t.test, 8), t.probe) for t in stream.tasks]
    return replace(stream, tasks=tuple(tasks))


@pytest.mark.parametrize("name", NAMES)
def test_every_presentation_works_or_is_refused_with_a_reason(name, built, seeds):
    stream = _small(built[name])
    for schedule, head, cue in product(SCHEDULES, ["single", "multi"], [None, 1.0]):
        presentation = Presentation(schedule=schedule, head=head, cue=cue)
        if cue is not None and name in CONTEXT_OF_ITS_OWN:
            with pytest.raises(DataError, match=r"stream.cue: expected"):
                presentation(stream, seeds)
            continue
        shown = presentation(stream, seeds)
        assert (shown.heads is None) == (head == "single")
        assert ("context" in shown.input_groups) == (cue is not None or name in CONTEXT_OF_ITS_OWN)
        trained = [shown.phase_data(phase) for phase in shown.phases]
        passes = 2 if schedule == "cyclic" else 1
        for t, task in enumerate(shown.tasks):
            rows = torch.cat([split.x[labels == t] for split, labels in trained]).flatten(1).tolist()
            assert sorted(rows) == sorted(task.train.x.flatten(1).tolist() * passes)


@pytest.mark.parametrize("head", ["single", "multi"])
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_holds_the_streams_data_with_task_labels(name, head, built, seeds):
    shown = Presentation(schedule="gradual", head=head)(_small(built[name]), seeds)
    for phase, experience in zip(shown.phases, shown.benchmark.train_stream, strict=True):
        split, labels = shown.phase_data(phase)
        x, y, t = zip(*(experience.dataset[i] for i in range(len(experience.dataset))), strict=True)
        assert torch.equal(torch.stack(x), split.x)
        assert torch.equal(torch.stack([torch.as_tensor(value) for value in y]), split.y)
        assert list(t) == labels.tolist()
        if head == "multi" and shown.target == "class":
            allowed = set().union(*(shown.heads[task] for task in phase.tasks))
            assert set(experience.classes_in_this_experience) <= allowed
