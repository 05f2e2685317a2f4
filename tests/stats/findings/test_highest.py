"""The highest value along a sweep."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.protocol.spec import RunSpec
from clntk.runs.runset import RunSet


@pytest.fixture(autouse=True)
def _measure():
    @registry.register("measure")
    def known(known) -> xr.DataArray:
        """What the run was given."""
        return xr.DataArray(float(known))


def runs(values, key="epochs"):
    """One run for every (seed, swept value) and what is known of it."""
    out = []
    for (seed, swept), known in values.items():
        spec = RunSpec(
            "p", "it", seed, {"name": "s"}, {"name": "m"}, {"name": "n", key: swept}, {"name": "r"}, []
        )
        out.append(SimpleNamespace(spec=spec, run_id=spec.run_id, measured={}, fact=lambda _, v=known: v))
    return RunSet(out)


def found(values, **options):
    entry = registry.get("finding", "highest")
    return entry(runs(values), **entry.resolve({"measure": "known", "along": "strategy.epochs", **options}))


def test_one_number_a_seed():
    values = {(1, 1): 5, (1, 4): 2, (1, 2): 3, (0, 1): -3, (0, 2): -1, (0, 4): -2}
    np.testing.assert_array_equal(found(values), [-1, 5])


def test_it_is_not_defined_unless_the_measure_is_everywhere():
    np.testing.assert_array_equal(found({(0, 1): 5, (0, 4): np.nan, (1, 1): 1, (1, 4): 2}), [np.nan, 2])


def test_a_key_that_is_not_swept_is_refused():
    with pytest.raises(DataError, match="along: expected a key that the runs differ in"):
        found({(0, 1): 5, (0, 4): 1}, along="model.width")
