"""Several workers begin with what takes long."""

from itertools import islice
from types import SimpleNamespace

import pytest

import clntk
from clntk import registry
from clntk.protocol import expand, load
from clntk.runs.build import build, training_of
from clntk.runs.events import What
from clntk.runs.longest_first import Expected, kind, longest_first, size
from clntk.runs.preflight import preflight


@pytest.fixture
def cells(write_protocol, tmp_path):
    """Cells of one run, of three widths."""

    def make(*overrides: str, widths: str = "[4,16,8]") -> list[list]:
        specs = expand(load(write_protocol(tmp_path), [f"sweep.model.width={widths}", *overrides]))
        return [[spec] for spec in specs]

    return make


def named(cells) -> list[tuple]:
    return [(cell[0].model["width"], cell[0].seed) for cell in cells]


def size_of(cell) -> float:
    return size(build(cell[0]), training_of(cell[0]))


@pytest.mark.parametrize(
    ("schedule", "passes"), [("blocked", 1), ("joint", 1), ("cyclic", 2), ("gradual", 1)]
)
def test_size_is_parameters_times_examples(cells, schedule, passes):
    (cell,) = cells("seeds=1", f"stream.schedule={schedule}", "strategy.epochs=3", widths="[8]")
    assert size_of(cell) == (27 * 8 + 8 + 8 + 1) * (2 * 25) * passes * 3


def test_looks_add_nothing_to_the_size(cells):
    (without,), (with_looks,) = (
        cells("seeds=1", "strategy.epochs=3", f"stream.looks={looks}", widths="[8]")
        for looks in ("null", "[1,2]")
    )
    assert size_of(with_looks) == size_of(without)


def test_the_largest_go_first_where_nothing_has_ended(cells):
    cells = cells("seeds=2")
    sizes = preflight(cell[0] for cell in cells)
    assert len(set(sizes.values())) == 3
    order = named(longest_first(cells, Expected(sizes)))
    assert order[:3] == [(16, 0), (8, 0), (4, 0)]
    assert order[3:] == [(16, 1), (8, 1), (4, 1)]


def test_what_took_long_goes_first_once_it_is_known(cells):
    cells = cells("seeds=3")
    expected = Expected(preflight(cell[0] for cell in cells))
    order = longest_first(cells, expected)
    begun = list(islice(order, 3))
    for cell, seconds in zip(begun, [1.0, 5.0, 9.0], strict=True):  # of widths 16, 8 and 4
        expected.took(cell, seconds)
    assert named(order) == [(4, 1), (4, 2), (8, 1), (8, 2), (16, 1), (16, 2)]


def test_what_has_not_ended_is_held_against_what_has_by_size(cells):
    cells = cells("seeds=2")
    kinds = {cell[0].model["width"]: kind(cell) for cell in cells}
    expected = Expected({kinds[4][0]: 4.0, kinds[8][0]: 8.0, kinds[16][0]: 16.0})
    assert expected(kinds[8]) == 8.0
    by_width = {width: next(cell for cell in cells if kind(cell) == kinds[width]) for width in kinds}
    expected.took(by_width[4], 1.0)
    assert [expected(kinds[w]) for w in (4, 8, 16)] == [1.0, 2.0, 4.0]
    expected.took(by_width[4], 3.0)
    assert [expected(kinds[w]) for w in (4, 8, 16)] == [2.0, 4.0, 8.0]


def test_a_condition_that_nobody_could_build_waits_for_the_others(cells):
    cells = cells("seeds=1", widths="[4,16]")
    sizes = {cells[0][0].condition: 1.0}
    assert named(longest_first(reversed(cells), Expected(sizes))) == [(4, 0), (16, 0)]


@pytest.mark.parametrize(("remote", "widths"), [(True, [16, 8, 4]), (False, [4, 16, 8])])
def test_runs_on_several_workers_begin_with_the_longest_and_others_keep_their_order(
    remote, widths, tmp_path, write_protocol
):
    @registry.register("engine", "elsewhere", remote=remote)
    def elsewhere():
        """Here, in truth."""
        return SimpleNamespace(
            map=lambda work, cells, tell: (work(cell, tell) for cell in cells), close=lambda: None
        )

    begun = []

    def listener(event):
        if event.what is What.STARTED:
            begun.append(event.spec.model["width"])

    how = ["seeds=1", "sweep.model.width=[4,16,8]"]
    clntk.run(write_protocol(tmp_path), how, store=tmp_path / "runs", engine="elsewhere", listener=listener)
    assert begun == widths
