"""Runs looked at together: measures over them, as tidy tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from clntk import registry
from clntk.axes import CONDITION, REGIME, RUN, SEED
from clntk.collector import collector_at_rest
from clntk.errors import DataError, StoreError, did_you_mean
from clntk.protocol.spec import RunSpec
from clntk.runs.conditions import Conditions
from clntk.runs.measured import recorded_by, result_of, takeable, takeable_of
from clntk.runs.opened import Run
from clntk.runs.store import RunStore, Standing, State

Watch = Callable[[str, int, int], None]  # what is measured, how many runs are done, and of how many


class RunSet:
    """Runs to be looked at together.

    Args:
        runs: published runs.
        others: standings of runs that are not done, for reports.
        root: the store they come from.
    """

    def __init__(
        self, runs: Iterable[Run], *, others: Iterable[Standing] = (), root: Path | None = None
    ) -> None:
        self.runs = list(runs)
        self.others = list(others)
        self.root = root
        self.asked: dict[str, None] = {}  # names of the measures that were asked of them, first come first
        self.watch: Watch = _unwatched  # told how far a measure of all runs has come

    def _part(self, runs: Iterable[Run], others: Iterable[Standing]) -> "RunSet":
        """Some of these runs, which know together what was asked of them."""
        part = RunSet(runs, others=others, root=self.root)
        part.asked, part.watch = self.asked, self.watch
        return part

    def _each(self, what: str) -> Iterator[Run]:
        """The runs one by one, for work that may take long: who watches is told."""
        for done, run in enumerate(self):
            self.watch(what, done, len(self))
            yield run
        self.watch(what, len(self), len(self))

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __repr__(self) -> str:
        protocols, regimes = ", ".join(self.protocols), ", ".join(self.regimes)
        return f"RunSet of {len(self)} runs: {protocols}; regimes {regimes}; seeds {self.seeds}"

    def _repr_html_(self) -> str:
        from clntk.runs.display import runs_html

        return runs_html(self)

    @property
    def protocols(self) -> list[str]:
        return list(dict.fromkeys(run.spec.protocol for run in self))

    @property
    def regimes(self) -> list[str]:
        """Regime labels, in the protocol's order."""
        return self._conditions.regimes

    @property
    def seeds(self) -> list[int]:
        return sorted({run.spec.seed for run in self})

    @property
    def published(self) -> list[dict[str, Any]]:
        """The published results that the protocol was held against when the latest run finished."""
        latest = max(self, key=lambda run: run.provenance["finished"], default=None)
        return latest.spec.published if latest else []

    @property
    def failures(self) -> list[Standing]:
        return [standing for standing in self.others if standing.state is State.FAILED]

    @cached_property
    def _conditions(self) -> Conditions:
        return Conditions(run.spec for run in self)

    @property
    def axes(self) -> list[str]:
        """Dotted keys that differ between runs of one regime and seed-set: the sweep, however it came about.

        Tables carry them as columns, so that runs with different settings are never pooled.
        """
        return self._conditions.axes

    @property
    def short_axes(self) -> dict[str, str]:
        """The axes, and what they are called in the names of conditions."""
        return self._conditions.short

    def condition(self, run: Run) -> str:
        """The run's regime, with its values on the sweep axes."""
        return self._conditions.name(run.spec)

    @property
    def conditions(self) -> list[str]:
        """All conditions, regimes in the protocol's order."""
        return list(dict.fromkeys(self.condition(run) for run in self.ranked()))

    def ranked(self) -> list[Run]:
        """The runs, regimes in the protocol's order, then settings from low to high, then seeds."""
        return sorted(self, key=lambda run: self._conditions.rank(run.spec))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each run of the store, finished or not: run, protocol, regime, seed, sweep columns, state."""
        specs: dict[str, tuple[RunSpec | None, State]]
        specs = {run.run_id: (run.spec, State.DONE) for run in self}
        specs |= {s.run_id: (s.spec, s.state) for s in self.others}
        axes = self.axes
        rows = [
            {
                RUN: run_id,
                "protocol": spec and spec.protocol,
                REGIME: spec and spec.regime,
                SEED: spec and spec.seed,
                **{axis: _plain(spec.flat().get(axis)) if spec else None for axis in axes},
                "state": str(state),
            }
            for run_id, (spec, state) in specs.items()
        ]
        return pd.DataFrame(rows)

    def one_protocol(self) -> "RunSet":
        """Itself, if all runs are of one protocol.

        Raises:
            StoreError: if there are none, or of several protocols.
        """
        if not self.runs:
            waiting = f"; {len(self.others)} are not done (see clntk status)" if self.others else ""
            raise StoreError(f"{self.root or 'runs'}: expected finished runs, found none{waiting}")
        if len(self.protocols) > 1:
            raise StoreError(
                f"{self.root or 'runs'}: holds runs of several protocols; choose one of {', '.join(self.protocols)} "
                "with --protocol (open_runs(..., protocol=...))"
            )
        return self

    def of_protocol(self, name: str) -> "RunSet":
        """The runs of one protocol.

        Raises:
            StoreError: if there are none.
        """
        known = sorted({*self.protocols, *(s.spec.protocol for s in self.others if s.spec)})
        if name not in known:
            raise StoreError(
                f"{self.root}: holds no runs of {name!r}; {did_you_mean(name, known)} known: {', '.join(known)}"
            )
        return self._part(
            (run for run in self if run.spec.protocol == name),
            (s for s in self.others if s.spec is not None and s.spec.protocol == name),
        )

    def only(self, run_ids: Iterable[str]) -> "RunSet":
        """The runs of these ids."""
        wanted = set(run_ids)
        return self._part(
            (run for run in self if run.run_id in wanted), (s for s in self.others if s.run_id in wanted)
        )

    def where(self, settings: Mapping[str, Any]) -> "RunSet":
        """The runs of these settings.

        Args:
            settings: "regime", "seed" or a key of :attr:`axes` → the value that runs must have.

        Raises:
            DataError: for a key that runs do not differ in, or settings that no run has.
        """
        self._conditions.refuse_unknown(settings)
        chosen = [run for run in self if self._conditions.agree(run.spec, settings)]
        if not chosen:
            raise DataError(f"where: no run has {dict(settings)}; there are {'; '.join(self.conditions)}")
        return self._part(chosen, self.others)

    def measure(self, name: str, **options: Any) -> pd.DataFrame:
        """A measure of every run as one tidy table: run, regime, seed, sweep columns, dimensions, values.

        Raises:
            StoreError: if there are no runs, or one of them did not record what the measure needs.
            DataError: if the measure returns something else than a labelled array or dataset.
        """
        self._some()
        tables = []
        for run in self._each(name):
            result = self.result(run, {**options, "name": name})
            dataset = (
                result.to_dataset(name=result.name or name) if isinstance(result, xr.DataArray) else result
            )
            table = (
                dataset.expand_dims("_").to_dataframe().reset_index().drop(columns="_")
            )  # one row without dimensions
            tables.append(self.labelled(run, table))
        return pd.concat(tables, ignore_index=True)

    def scalars(self, measures: Iterable[str | dict[str, Any]] | None = None) -> pd.DataFrame:
        """One number for each run and measure: columns run, regime, seed, sweep columns, measure, value.

        Args:
            measures: names, or mappings with ``name`` and options; by default those the protocol lists, each of the
                runs that recorded what it needs.

        Raises:
            StoreError, DataError: as :meth:`measure`.
        """
        from clntk.measures.summary import scalars

        self._some()
        chosen = (
            self.default_measures()
            if measures is None
            else [m if isinstance(m, dict) else {"name": m} for m in measures]
        )
        known = set().union(*map(recorded_by, self))
        tables = []
        for run in self._each("measures"):
            values: dict[str, float] = {}
            for measure in takeable_of(run, known, chosen) if measures is None else chosen:
                name = measure["name"]
                result = self.result(run, measure)
                values |= scalars(name, result, registry.get("measure", name).traits.get("scalar"))
            tables.append(
                self.labelled(run, pd.DataFrame({"measure": list(values), "value": list(values.values())}))
            )
        return pd.concat(tables, ignore_index=True)

    def default_measures(self) -> list[dict[str, Any]]:
        """The measures that the runs' protocol lists, or else every measure that can be taken of all runs."""
        listed = {repr(m): m for run in self for m in run.spec.measures}
        if listed:
            return list(listed.values())
        return [measure for measure in takeable(self) if self._can_be_asked(measure)]

    def _can_be_asked(self, measure: dict[str, Any]) -> bool:
        """Whether the measure is for tasks and networks such as these."""
        try:
            for run in self._each(measure["name"]):
                self.result(run, measure)
        except DataError:
            return False
        return True

    def _some(self) -> None:
        if not self.runs:
            raise StoreError(
                f"{self.root or 'runs'}: expected finished runs to measure, found none (see clntk status)"
            )

    def result(self, run: Run, measure: Mapping[str, Any]) -> xr.DataArray | xr.Dataset:
        """A measure of one run, computed once for as long as the run is open.

        Args:
            run: it.
            measure: its ``name`` and options.

        Raises:
            StoreError, DataError: as :meth:`measure`.
        """
        self.asked[measure["name"]] = None
        return result_of(run, measure)

    def labelled(self, run: Run, table: pd.DataFrame) -> pd.DataFrame:
        """The table with columns in front that say which run it is of: run, regime, seed, sweep columns, condition."""
        columns = {RUN: run.run_id, REGIME: run.spec.regime, SEED: run.spec.seed}
        columns |= {axis: _plain(value) for axis, value in self._conditions.values(run.spec).items()}
        columns[CONDITION] = self.condition(run)
        for position, (key, value) in enumerate(columns.items()):
            table.insert(position, key, [value] * len(table))
        return table


def open_runs(path: str | Path = "runs", *, protocol: str | None = None) -> RunSet:
    """Open a store, or one published run, from disk.

    Args:
        path: a folder of runs, or the folder of one run.
        protocol: keep the runs of this protocol only.

    Raises:
        StoreError: if there is no such folder, or it holds no run of that protocol.
        DamagedRun, NewerFormat: if ``path`` is a single run that cannot be read. In a store such runs are set
            aside in ``others``, each with its reason.
    """
    folder = Path(path).resolve()
    if (folder / "provenance.json").is_file() or (folder / "spec.yaml").is_file():
        return RunSet([Run(folder)], root=folder.parent)
    with collector_at_rest():
        standings = RunStore(folder).standings()
        runs = RunSet(
            [Run(folder / s.run_id, s.spec) for s in standings if s.state is State.DONE],
            others=[s for s in standings if s.state is not State.DONE],
            root=folder,
        )
        runs.runs = runs.ranked()
    return runs if protocol is None else runs.of_protocol(protocol)


def unfinished(runs: RunSet) -> list[RunSpec]:
    """The specs of the runs that are not done but could be."""
    waiting = {State.PENDING, State.INTERRUPTED, State.FAILED, State.RUNNING}
    return [s.spec for s in runs.others if s.state in waiting and s.spec is not None]


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | type(None)) else str(value)


def _unwatched(what: str, done: int, total: int) -> None:
    """Nobody looks."""
