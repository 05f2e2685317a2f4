"""One page that holds several stores beside each other: other machines, versions, settings or data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clntk.axes import CONDITION, RUN
from clntk.errors import ClntkError
from clntk.report.explore import roles
from clntk.report.render import rendered, written
from clntk.report.sections import Section, analyses, csv_uri, section_of, sources
from clntk.runs.reproduce import compared_runs
from clntk.runs.runset import RunSet
from clntk.stats.compare import MEASURE, compare_table
from clntk.stats.view import readable

STORE = "store"
_SHOWN = 5  # runs that differ are told one by one up to here


@dataclass(frozen=True)
class Together:
    """One analysis of all stores: a section of each that has it, and their tables as one to choose from."""

    name: str
    title: str
    parts: list[tuple[str, Section]]
    roles: dict[str, Any] | None
    data: str


def write_comparison(sets: Mapping[str, RunSet], path: str | Path, *, full: bool = False) -> Path:
    """Write the comparison of several stores: one HTML file that needs no network.

    Conditions of one name are compared measure by measure, seed by seed, with the first store; runs that are in
    several stores are compared bit for bit.

    Args:
        sets: what each is called → its runs, of one protocol each.
        path: the file to write; its folder is made if need be.
        full: whether analyses that rebuild the runs' networks (trait ``networks``) take part: seconds a run.

    Returns:
        The file's absolute path.

    Raises:
        ClntkError: for fewer than two stores.
        StoreError: if there are no finished runs in one, runs of several protocols, or the disk refuses.
    """
    if len(sets) < 2:
        raise ClntkError(f"write_comparison, sets: expected two stores or more, found {len(sets)}")
    chosen = {name: runs.one_protocol() for name, runs in sets.items()}
    table = compared(chosen)
    page = rendered(
        "stores.html.j2",
        stores=[_standing(name, runs) for name, runs in chosen.items()],
        shared=list(_shared(chosen)),
        table=readable(table) if len(table) else None,
        data=csv_uri(table),
        measures=sources(m["name"] for runs in chosen.values() for m in runs.default_measures()),
        sections=list(_together(chosen, full=full)),
    )
    return written(page, path)


def compared(sets: Mapping[str, RunSet]) -> pd.DataFrame:
    """Every condition's measures in every store that has them, and differences from the first such store.

    Returns:
        Tidy, the columns of :mod:`clntk.stats.compare` with ``store`` as what is compared, conditions apart.
    """
    scalars = pd.concat(
        [runs.scalars().assign(**{STORE: name}) for name, runs in sets.items()], ignore_index=True
    )
    tables = []
    for _, rows in scalars.groupby(CONDITION, sort=False):
        present = [name for name in sets if name in set(rows[STORE])]
        if len(present) > 1:
            tables.append(compare_table(rows, groups=present, by=STORE, within=[CONDITION]))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    table = table[table["n"] > 0]
    in_several = table.groupby([CONDITION, MEASURE])[STORE].transform("nunique") > 1
    return table[in_several].reset_index(drop=True)


def _standing(name: str, runs: RunSet) -> dict[str, str]:
    """What a store holds, and what its runs were made with."""
    facts = [run.provenance for run in runs]

    def all_of(values: Iterable[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values}))

    return {
        "store": name,
        "protocol": ", ".join(runs.protocols),
        "runs": str(len(runs)),
        "conditions": "; ".join(runs.conditions),
        "seeds": ", ".join(map(str, runs.seeds)),
        "clntk": all_of(fact["clntk"] for fact in facts),
        "torch": all_of((fact.get("packages") or {}).get("torch", "?") for fact in facts),
        "device": all_of(fact["device"] for fact in facts),
        "finished": max(str(fact["finished"]) for fact in facts),
    }


def _shared(sets: Mapping[str, RunSet]) -> Iterable[str]:
    """Sentences on the runs that the first store shares with each of the others."""
    (first, ours), *others = sets.items()
    for name, theirs in others:
        twins = {run.run_id: run for run in theirs}
        both = [(run, twins[run.run_id]) for run in ours if run.run_id in twins]
        if not both:
            yield f"{first} and {name} share no run: settings, seeds or protocols differ."
            continue
        found = [compared_runs(*pair) for pair in both]
        unequal = [reproduction for reproduction in found if not reproduction.equal]
        yield f"{first} and {name} share {len(both)} runs; {len(both) - len(unequal)} are equal to the bit."
        for reproduction in unequal[:_SHOWN]:
            yield f"{reproduction.run_id}: {reproduction.differences[0]}."
        if len(unequal) > _SHOWN:
            yield f"{len(unequal) - _SHOWN} more differ."


def _together(sets: Mapping[str, RunSet], *, full: bool) -> Iterable[Together]:
    for name in analyses(networks=full):
        found = {store: section_of(name, runs) for store, runs in sets.items()}
        parts = [(store, section) for store, section in found.items() if section is not None]
        tables = {store: section.table for store, section in parts if section.table is not None}
        if len(tables) > 1:
            axes = dict.fromkeys(axis for store in tables for axis in sets[store].axes)
            yield _merged(name, parts, tables, [STORE, *axes])


def _merged(
    name: str, parts: list[tuple[str, Section]], tables: Mapping[str, pd.DataFrame], axes: Sequence[str]
) -> Together:
    """An analysis of several stores, whose tables become one with a condition for each store's condition."""
    whole = pd.concat(
        [
            table.assign(**{STORE: store, CONDITION: f"{store}: " + table.get(CONDITION, "all runs")})
            for store, table in tables.items()
        ],
        ignore_index=True,
    ).drop(columns=RUN, errors="ignore")
    conditions = list(dict.fromkeys(whole[CONDITION]))
    title = next(section.title for _, section in parts)
    return Together(name, title, parts, roles(whole, conditions=conditions, axes=axes), csv_uri(whole))
