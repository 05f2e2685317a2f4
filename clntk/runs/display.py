"""Runs as a notebook shows them."""

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from clntk.axes import REGIME, SEED
from clntk.protocol.spec import options_of

if TYPE_CHECKING:
    from clntk.runs.opened import Run
    from clntk.runs.runset import RunSet

ROWS = 20  # of a table that is shown


def runs_html(runs: "RunSet") -> str:
    """How many seeds of each condition are done, and what became of the others."""
    table = runs.table
    if table.empty:
        return "<p>no runs</p>"
    keys = ["protocol", REGIME, *runs.axes, "state"]
    counted = table.astype(dict.fromkeys(keys, str)).groupby(keys, sort=False)[SEED].agg(["size", _seeds])
    counted.columns = ["runs", "seeds"]
    return _titled(f"{len(runs)} runs done", counted.reset_index())


def run_html(run: "Run") -> str:
    """What a run is of, and the metrics of its last checkpoint."""
    spec = run.spec
    parts = {
        "stream": spec.stream,
        "model": spec.model,
        "regime": spec.regime_options,
        "strategy": spec.strategy,
    }
    told = {name: f"{part['name']} {options_of(part) or ''}" for name, part in parts.items()}
    last = run.fact("metrics").isel(checkpoint=-1)
    names = [name for name in ("test_accuracy", "test_loss", "train_loss") if name in last]
    metrics = pd.DataFrame({name: last[name].values for name in names}, index=last["eval_task"].values)
    about = pd.Series({**told, "seed": spec.seed, "path": run.path}).to_frame().to_html(header=False)
    return _titled(spec.run_id, metrics) + about


def _seeds(seeds: pd.Series) -> str:
    known = sorted(int(seed) for seed in seeds.dropna())
    return ", ".join(map(str, known[:10])) + (" …" if len(known) > 10 else "")


def _titled(title: str, table: pd.DataFrame) -> str:
    more = f"<p>… and {len(table) - ROWS} rows more</p>" if len(table) > ROWS else ""
    shown = table.head(ROWS).to_html(float_format="{:.3g}".format, index=table.index.dtype == object)
    return f"<p><b>{escape(title)}</b></p>{shown}{more}"
