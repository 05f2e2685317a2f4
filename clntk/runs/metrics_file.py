"""The table of metrics, looked over before it is read: it may come from a stranger and claim anything."""

import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from clntk import limits

_KEYS = ["checkpoint", "eval_task", "metric"]
_COLUMNS = {
    **dict.fromkeys(_KEYS, (pa.string(), pa.large_string())),
    "value": (pa.float64(),),
    "step": (pa.int64(),),
}


def read_metrics(path: Path) -> pd.DataFrame:
    """Its columns checkpoint, eval_task, metric, value and step.

    Raises:
        ValueError: for other columns than clntk writes, and for more than a run can have.
        pyarrow.ArrowException: if it is no Parquet.
    """
    # labels stay what they are in the file, numbers of a list: a long one that all rows share is there once
    with parquet.ParquetFile(path, read_dictionary=_KEYS) as file:
        _check(file)
        table = file.read(columns=list(_COLUMNS), use_threads=False)
    labels = [len(table[name].unique()) for name in _KEYS]
    if math.prod(labels) > limits.ROWS:
        raise ValueError(
            f"expected at most {limits.ROWS} metrics of checkpoints and tasks, found more labels"
        )
    return table.to_pandas().astype(dict.fromkeys(_KEYS, object))


def _check(file: parquet.ParquetFile) -> None:
    facts = file.metadata
    if facts.num_rows > limits.ROWS:
        raise ValueError(f"expected at most {limits.ROWS} rows, found {facts.num_rows}")
    schema = file.schema_arrow
    for name, kinds in _COLUMNS.items():
        found = schema.field(name).type if name in schema.names else None
        if getattr(found, "value_type", found) not in kinds:
            raise ValueError(f"expected {name} to be {kinds[0]}, found {found}")
    size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
    if size > limits.TABLE:
        raise ValueError(f"expected at most {limits.TABLE} bytes, found {size}")
