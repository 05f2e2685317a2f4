"""Measures of one run, computed once; and which measures runs have recorded enough for."""

from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.protocol.spec import name_of, options_of
from clntk.runs.opened import Run


def result_of(run: Run, measure: Mapping[str, Any]) -> xr.DataArray | xr.Dataset:
    """A measure of a run, kept for as long as the run is open.

    Args:
        run: it.
        measure: its ``name`` and options.

    Raises:
        StoreError: if the run did not record what the measure needs.
        DataError: if the measure refuses the run, or returns something else than a labelled array or dataset.
    """
    name, options = measure["name"], options_of(measure)
    entry = registry.get("measure", name)
    key = (entry.function, repr(sorted(options.items())))
    if key in run.measured:
        return run.measured[key]
    result = entry(*(run.fact(need) for need in entry.needs), **options)
    if not isinstance(result, xr.DataArray | xr.Dataset):
        raise DataError(
            f"measure {name!r} in {entry.source}: expected an xarray DataArray or Dataset back, "
            f"found {type(result).__name__}; wrap a single number as xr.DataArray(number)"
        )
    return run.measured.setdefault(key, result)


def takeable(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Every measure whose facts all runs have recorded."""
    recorded = [recorded_by(run) for run in runs]
    common = set.intersection(*recorded) if recorded else set()
    return [{"name": name} for name in registry.names("measure") if _needs(name) <= common]


def takeable_of(run: Run, known: set[str], measures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measures whose facts the run recorded; one whose facts are not ``known`` stays, for the error that it gives.

    Args:
        run: it.
        known: the facts that it or another run has recorded.
        measures: their ``name`` and options.
    """
    recorded = recorded_by(run)
    return [m for m in measures if _needs(m["name"]) <= recorded or not _needs(m["name"]) <= known]


def recorded_by(run: Run) -> set[str]:
    """The facts that a run has on disk."""
    return {"metrics", "losses", "schedule", "probes", *map(name_of, run.spec.probes)}


def _needs(measure: str) -> set[str]:
    return set(registry.get("measure", measure).needs)
