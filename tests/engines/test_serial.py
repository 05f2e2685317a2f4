"""Engines say where runs execute; the store holds the truth about them."""

import pytest

import clntk
from clntk import registry
from clntk.runs.store import RunStore, State


@pytest.fixture
def engine():
    return registry.get("engine", "serial")()


def test_cells_run_one_after_the_other_as_results_are_asked_for(engine):
    seen = []
    results = engine.map(lambda cell, tell: seen.append(cell) or 10 * cell, [3, 1, 2], print)
    assert seen == []
    assert next(results) == 30
    assert seen == [3]
    assert list(results) == [10, 20]
    engine.close()


def test_an_error_comes_through_and_later_cells_do_not_run(engine):
    seen = []

    def work(cell, tell):
        seen.append(cell)
        if cell == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        list(engine.map(work, [0, 1, 2], print))
    assert seen == [0, 1]


class Backwards:
    """An engine that is nobody's default: last cell first."""

    closed = 0

    def map(self, work, cells, tell):
        return (work(cell, tell) for cell in reversed(list(cells)))

    def close(self):
        Backwards.closed += 1


@pytest.fixture
def backwards():
    @clntk.register("engine", "backwards")
    def make():
        """Last cell first."""
        return Backwards()

    Backwards.closed = 0


def test_the_order_in_which_an_engine_works_changes_nothing(backwards, write_protocol, tmp_path, differences):
    path, order = write_protocol(tmp_path), []
    there = clntk.run(path, ["seeds=2"], store=tmp_path / "serial")
    back = clntk.run(
        path, ["seeds=2"], store=tmp_path / "back", engine="backwards",
        listener=lambda event: order.append(event.spec.seed),
    )  # fmt: skip
    assert order == sorted(order, reverse=True)
    assert [differences(a.path, b.path) for a, b in zip(there, back, strict=True)] == [[], []]
    assert Backwards.closed == 1


def test_an_engine_is_closed_whatever_happens(backwards, write_protocol, tmp_path):
    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs", engine="backwards", listener=stop)
    assert Backwards.closed == 1
    assert [s.state for s in RunStore(tmp_path / "runs").standings()] == [State.PENDING]
