"""One self-contained HTML page on a set of runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from clntk.protocol.spec import options_of
from clntk.report.methods import bibtex, methods
from clntk.report.render import rendered, written
from clntk.report.sections import analyses, csv_uri, section_of, sources
from clntk.report.verdict import verdict
from clntk.stats.phrases import small_sample_note
from clntk.stats.regimes import compare_regimes
from clntk.stats.view import readable

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet


def write_report(runs: "RunSet", path: str | Path, *, full: bool = False) -> Path:
    """Write the report of one protocol's runs: one HTML file that needs no network.

    Args:
        runs: runs of one protocol.
        path: the file to write; its folder is made if need be.
        full: whether analyses that rebuild the runs' networks (trait ``networks``) take part: seconds a run.

    Returns:
        The file's absolute path.

    Raises:
        StoreError: if there are no finished runs, runs of several protocols, or the disk refuses.
    """
    chosen = runs.one_protocol()
    comparison = compare_regimes(chosen)
    names = analyses(networks=full)
    sections = [section for section in (section_of(name, chosen) for name in names) if section is not None]
    page = rendered(
        "page.html.j2",
        spec=next(iter(chosen)).spec,
        settings=_settings(chosen),
        regimes=_regimes(chosen),
        n_done=len(chosen),
        seeds=chosen.seeds,
        chance=float(next(iter(chosen)).tree.attrs["chance"]),
        others=chosen.others,
        answers=[
            {"point": point, "sentences": verdict(rows)} for point, rows in _points(comparison, chosen.axes)
        ],
        table=readable(comparison),
        note=small_sample_note(comparison),
        measures=sources(measure["name"] for measure in chosen.default_measures()),
        sections=sections,
        left_out=[name for name in analyses() if name not in names],
        data=csv_uri(comparison),
        methods=methods(chosen),
        bibtex=bibtex(chosen),
        runs=[_provenance_row(run) for run in chosen],
    )
    return written(page, path)


def _points(comparison: pd.DataFrame, axes: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    if not axes:
        yield "", comparison
        return
    for values, rows in comparison.groupby(axes, sort=False, dropna=False):
        yield ", ".join(f"{axis} = {value}" for axis, value in zip(axes, values, strict=True)), rows


def _settings(runs: "RunSet") -> list[tuple[str, str]]:
    """Stream, model and strategy with their options; what varies is named, not listed."""
    spec = next(iter(runs)).spec
    out = []
    for part in ("stream", "model", "strategy"):
        options = getattr(spec, part)
        told = [
            f"{key} = {'swept' if f'{part}.{key}' in runs.axes else value}"
            for key, value in options_of(options).items()
            if value is not None
        ]
        out.append((part, f"{options['name']}: {', '.join(told)}"))
    return out


def _regimes(runs: "RunSet") -> list[tuple[str, str]]:
    seen: dict[str, str] = {}
    for run in runs:
        options = {k: v for k, v in options_of(run.spec.regime_options).items() if v is not None}
        told = ", ".join(f"{key} = {value}" for key, value in options.items())
        seen.setdefault(run.spec.regime, f"{run.spec.regime_options['name']}{': ' + told if told else ''}")
    return [(label, seen[label]) for label in runs.regimes]


def _provenance_row(run: Any) -> dict[str, Any]:
    git = run.provenance.get("git") or {}
    return {
        "run": run.run_id,
        "steps": run.provenance["steps"],
        "seconds": run.provenance["seconds"],
        "finished": run.provenance["finished"],
        "clntk": run.provenance["clntk"],
        "commit": f"{str(git.get('commit', '—'))[:10]}{' (dirty)' if git.get('dirty') else ''}",
    }
