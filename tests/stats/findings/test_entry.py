"""One entry of a measure by its labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.protocol.spec import RunSpec
from clntk.runs.runset import RunSet


def run(seed, values, regime="rich"):
    spec = RunSpec("p", regime, seed, {"name": "s"}, {"name": "m"}, {"name": "n"}, {"name": regime}, [])
    return SimpleNamespace(spec=spec, run_id=spec.run_id, fact=lambda name: values, measured={})


@pytest.fixture(autouse=True)
def _measures():
    @registry.register("measure")
    def table(known) -> xr.Dataset:
        """Two variables by checkpoint and task."""
        coords = {"checkpoint": ["init", "A", "B"], "eval_task": ["A", "B"]}
        array = xr.DataArray(np.asarray(known, float), dims=list(coords), coords=coords)
        return xr.Dataset({"it": array, "twice": 2 * array})


KNOWN = [[0, 1], [2, 3], [4, np.nan]]


def found(runs, **options):
    entry = registry.get("finding", "entry")
    return entry(RunSet(runs), **entry.resolve({"measure": "table", **options}))


def test_the_last_checkpoint_unless_it_is_named():
    runs = [run(1, np.asarray(KNOWN) + 10), run(0, KNOWN)]
    np.testing.assert_equal(found(runs, value="it", at={"eval_task": "A"}), [4, 14])  # by seed
    np.testing.assert_equal(found(runs, value="twice", at={"eval_task": "A", "checkpoint": "A"}), [4, 24])
    np.testing.assert_equal(found(runs, value="it", at={"eval_task": "B"}), [np.nan, np.nan])


def test_what_labels_leave_is_averaged():
    np.testing.assert_equal(found([run(0, KNOWN)], value="it", at={}), [4])
    np.testing.assert_equal(found([run(0, KNOWN)], value="it", at={"checkpoint": "A"}), [2.5])


def test_the_ratio_of_two_entries():
    ratio = found(
        [run(0, KNOWN)], value="it", at={"eval_task": "A"}, over={"eval_task": "A", "checkpoint": "A"}
    )
    np.testing.assert_equal(ratio, [2])
    by_zero = found(
        [run(0, KNOWN)], value="it", at={"eval_task": "A"}, over={"eval_task": "A", "checkpoint": "init"}
    )
    assert np.isnan(by_zero).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"value": "itt", "at": {}},
            r"table, value: expected one of it, twice, found 'itt'; did you mean 'it'",
        ),
        (
            {"value": "it", "at": {"task": "A"}},
            r"table, at: expected one of checkpoint, eval_task, found 'task'",
        ),
        ({"value": "it", "at": {"eval_task": "C"}}, r"table, at eval_task: expected one of A, B, found 'C'"),
    ],
)
def test_what_is_not_there_is_named(options, message):
    with pytest.raises(DataError, match=message):
        found([run(0, KNOWN)], **options)


def test_one_condition_at_a_time():
    with pytest.raises(DataError, match="expected the settings of one condition, found 2"):
        found([run(0, KNOWN), run(0, KNOWN, "lazy")], value="it", at={})
