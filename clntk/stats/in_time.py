"""Outputs of networks over steps beside the closed forms of fixed kernels, as a tidy table."""

from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from clntk.axes import EVAL_TASK, OUTPUT, STEP
from clntk.measures.closed_form import EXAMPLE, KERNEL, KERNELS

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

NETWORK = "network"


def outputs_in_time(runs: "RunSet", *, seed: int, key: str, examples: int = 3) -> pd.DataFrame:
    """Single outputs of one seed's networks on training examples, at every checkpoint after initialisation.

    Of the first task and the first output; examples evenly from the lowest to the highest output that the network with
    the highest key has at the end.

    Args:
        runs: of one protocol, all with one set of training examples a seed, such as runs of several widths or lengths.
        seed: the seed.
        key: a swept setting that tells networks apart; runs that differ otherwise are of different lengths, and what
            they share on their way is taken once.
        examples: how many.

    Returns:
        one row a value of the key, step and ``example``: run, regime, seed, sweep columns, condition, checkpoint, and
        the output as it was (``network``) and in closed form (``empirical``, ``infinite``: NaN without a twin).
    """
    parts = [
        runs.labelled(run, _table(run.fact("closed_form")["train"])) for run in runs if run.spec.seed == seed
    ]
    table = pd.concat(parts, ignore_index=True).drop_duplicates([key, STEP, EXAMPLE])
    table = table[table[STEP] > 0].sort_values([key, EXAMPLE, STEP], ignore_index=True)
    widest = table[(table[key] == table[key].max()) & (table[STEP] == table[STEP].max())]
    order = widest.sort_values(NETWORK)[EXAMPLE].tolist()
    chosen = [order[round(i * (len(order) - 1) / max(examples - 1, 1))] for i in range(examples)]
    return table[table[EXAMPLE].isin(chosen)].reset_index(drop=True)


def _table(found: xr.Dataset) -> pd.DataFrame:
    own = found.isel({EVAL_TASK: 0, OUTPUT: 0}, drop=True)
    columns = {NETWORK: own["actual"]} | {
        kernel: own["predicted"].sel({KERNEL: kernel}, drop=True) for kernel in KERNELS
    }
    numbers = own.assign_coords({EXAMPLE: range(own.sizes[EXAMPLE])}).coords
    return xr.Dataset(columns).assign_coords(numbers).drop_vars(KERNEL).to_dataframe().reset_index()
