"""Orders of training: which examples each phase holds, and that none is lost or trained twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.streams.phases import Phase, mixed_boundaries, training_order

NAMES = ["x", "y", "z"]


def test_schedules_are_phases():
    assert training_order(NAMES, "blocked") == (Phase("x", (0,)), Phase("y", (1,)), Phase("z", (2,)))
    assert training_order(NAMES, "joint") == (Phase("joint", (0, 1, 2)),)
    assert training_order(NAMES, "interleaved") == (Phase("interleaved", (0, 1, 2), pure_batches=True),)


def test_cycles_repeat_the_whole_sequence_under_new_names():
    order = training_order(NAMES, "cyclic", cycles=3)
    assert [phase.name for phase in order] == ["x", "y", "z", "x.2", "y.2", "z.2", "x.3", "y.3", "z.3"]
    assert [phase.tasks for phase in order] == [(0,), (1,), (2,)] * 3
    assert all(phase.rows is None for phase in order)
    assert len(training_order(NAMES, "cyclic")) == 6
    assert training_order(NAMES, "cyclic", cycles=1) == training_order(NAMES, "blocked")


@pytest.mark.parametrize(
    ("schedule", "hint"),
    [("gradual", r"use stream.scheduled\('gradual', seeds\)"), ("bloked", "mean 'blocked'")],
)
def test_a_schedule_that_needs_more_or_does_not_exist_is_refused(schedule, hint):
    with pytest.raises(
        DataError, match=f"phases: expected one of blocked, interleaved, joint, cyclic, .*{hint}"
    ):
        training_order(NAMES, schedule)


def _mixed(sizes, mixing=0.5, steps=2, seed=0):
    names = [f"t{i}" for i in range(len(sizes))]
    generator = np.random.default_rng(seed)
    return mixed_boundaries(names, sizes, mixing=mixing, steps=steps, generator=generator)


def _counts(phases):
    return {phase.name: dict(zip(phase.tasks, map(len, phase.rows), strict=True)) for phase in phases}


def test_one_task_fades_out_while_the_next_fades_in():
    assert _counts(_mixed([16, 32, 16])) == {
        "t0": {0: 12},
        "t0-t1.1": {0: 3, 1: 2},
        "t0-t1.2": {0: 1, 1: 6},
        "t1": {1: 16},
        "t1-t2.1": {1: 6, 2: 1},
        "t1-t2.2": {1: 2, 2: 3},
        "t2": {2: 12},
    }


def test_shares_fall_along_a_line():
    phases = _mixed([8000, 8000], mixing=0.8, steps=4)[1:-1]
    shares = [len(phase.rows[0]) / sum(map(len, phase.rows)) for phase in phases]
    assert shares == pytest.approx([7 / 8, 5 / 8, 3 / 8, 1 / 8], abs=1e-3)
    assert [sum(map(len, phase.rows)) for phase in phases] == [
        1600
    ] * 4  # half of mixing at a boundary, in 4 parts


def test_with_all_data_at_boundaries_a_task_between_two_has_no_phase_of_its_own():
    names = [phase.name for phase in _mixed([10, 11, 10], mixing=1.0, steps=1)]
    assert names == ["t0", "t0-t1.1", "t1-t2.1", "t2"]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(12, 60), min_size=2, max_size=4),
    mixing=st.floats(0.3, 1.0),
    steps=st.integers(1, 2),
    seed=st.integers(0, 5),
)
def test_every_example_is_in_exactly_one_phase(sizes, mixing, steps, seed):
    phases = _mixed(sizes, mixing, steps, seed)
    for t, n in enumerate(sizes):
        rows = torch.cat([r for p in phases for task, r in zip(p.tasks, p.rows, strict=True) if task == t])
        assert rows.sort().values.tolist() == list(range(n))
    assert len({phase.name for phase in phases}) == len(phases)


def test_too_few_examples_for_the_steps_are_refused():
    with pytest.raises(
        DataError,
        match=r"mixing: expected examples for every phase .* none for t0-t1.\d; raise stream.mixing",
    ):
        _mixed([16, 16], mixing=0.2, steps=9)


def test_rows_are_no_part_of_a_phases_identity():
    first, other = _mixed([16, 16]), _mixed([16, 16], seed=1)
    assert first == other
    assert hash(first) == hash(other)
    assert first.index(other[1]) == 1
    assert not torch.equal(first[0].rows[0], other[0].rows[0])


# --- of a stream ------------------------------------------------------------------------------------------


def test_a_phase_holds_its_tasks_training_data_with_labels(stream):
    data, labels = stream.phase_data(Phase("last two", (2, 1)))
    assert torch.equal(data.x, torch.cat([stream.tasks[2].train.x, stream.tasks[1].train.x]))
    assert torch.equal(data.y, torch.cat([stream.tasks[2].train.y, stream.tasks[1].train.y]))
    assert labels.tolist() == [2] * 50 + [1] * 50


def test_a_phase_of_chosen_rows_holds_these(stream):
    rows = (torch.tensor([4, 0]), torch.tensor([7]))
    data, labels = stream.phase_data(Phase("some", (2, 0), rows=rows))
    assert torch.equal(data.x, torch.cat([stream.tasks[2].train.x[[4, 0]], stream.tasks[0].train.x[[7]]]))
    assert torch.equal(data.y, torch.cat([stream.tasks[2].train.y[[4, 0]], stream.tasks[0].train.y[[7]]]))
    assert labels.tolist() == [2, 2, 0]


def test_a_gradual_stream_trains_as_many_examples_as_a_blocked_one(stream):
    gradual = stream.scheduled("gradual", Seeds(0), mixing=0.6, mixing_steps=3)
    assert len(gradual.phases) == 3 + 2 * 3
    assert sum(len(gradual.phase_data(phase)[0]) for phase in gradual.phases) == 150
    experiences = gradual.benchmark.train_stream
    assert [len(e.dataset) for e in experiences] == [len(gradual.phase_data(p)[0]) for p in gradual.phases]
    assert [sorted(e.task_labels) for e in experiences][1:5] == [[0, 1], [0, 1], [0, 1], [1]]


def test_gradual_boundaries_are_drawn_by_the_seed_alone(stream):
    def rows(seed):
        return torch.cat([r for phase in stream.scheduled("gradual", Seeds(seed)).phases for r in phase.rows])

    state = torch.get_rng_state()
    assert torch.equal(rows(0), rows(0))
    assert not torch.equal(rows(0), rows(1))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(DataError, match=r"use stream.scheduled\('gradual', seeds\)"):
        stream.scheduled("gradual")


def test_another_schedule_keeps_the_tasks(stream):
    joint = stream.scheduled("joint")
    assert joint.tasks is stream.tasks
    assert len(joint.benchmark.train_stream) == 1
    assert len(stream.benchmark.train_stream) == 3


def test_a_strategy_trains_through_cycles_and_blurred_boundaries(stream, make_learner):
    steps = {}
    for schedule in ("blocked", "cyclic", "gradual"):
        learner = make_learner(stream.scheduled(schedule, Seeds(0)), "naive", batch_size=1, epochs=1)
        for phase in learner.stream.phases:
            learner.train(phase)
        steps[schedule] = learner.steps
    assert steps == {"blocked": 150, "cyclic": 300, "gradual": 150}
