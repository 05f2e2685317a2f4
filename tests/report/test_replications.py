"""The page of published results is the same wherever its protocols are measured."""

import pickle

import pytest

import clntk
from clntk.engine import Lost
from clntk.engines.serial import Serial
from clntk.report.replications import write_replications

FINDING = {"name": "level", "measure": "average_accuracy"}


class Elsewhere:
    """An engine that hands everything through pickle, ends in another order than it began, and loses the first."""

    def map(self, work, cells, tell):
        first, *others = [pickle.loads(pickle.dumps(cell)) for cell in cells]
        self.first = first
        results = [Lost(first, "its worker died"), *(work(cell, tell) for cell in others)]
        return iter(pickle.loads(pickle.dumps(results[::-1])))

    def close(self):
        """Nothing is held."""


@pytest.fixture
def sets(write_protocol, tmp_path):
    """The runs of three protocols, and of one that is held against nothing."""
    claim = {"claim": "it is easy", "published": 1, "finding": FINDING, "within": [0, 1]}
    protocols = [
        write_protocol(tmp_path, name, seeds=seeds, published=published)
        for name, seeds, published in (
            ("one", 1, [claim]), ("none", 1, []), ("three", 3, [claim]), ("two", 2, [claim])
        )
    ]  # fmt: skip
    return [clntk.run(protocol, store=tmp_path / "runs") for protocol in protocols]


def test_the_page_and_its_table_are_the_same_from_every_engine(sets, tmp_path):
    watched = {"here": [], "there": []}
    for name, engine in (("here", Serial()), ("there", elsewhere := Elsewhere())):
        write_replications(
            sets, tmp_path / name / "page.html", engine, lambda *told, name=name: watched[name].append(told)
        )
    here, there = ({path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in watched)
    assert here == there
    assert len(elsewhere.first) == 3  # the largest began
    assert [row.split(",")[-1] for row in here["page.csv"].splitlines()] == [
        "protocol",
        "one",
        "three",
        "two",
    ]
    assert [done for _, done, _ in watched["here"]] == [3, 5, 6]
    assert {total for told in watched.values() for _, _, total in told} == {6}
