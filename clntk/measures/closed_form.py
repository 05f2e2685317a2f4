"""How far a network in training is from the closed form under a kernel that does not move."""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OUTPUT
from clntk.errors import DataError
from clntk.registry import register

KERNEL = "kernel"  # the dimension of the kernels that a closed form is of
KERNELS = ("empirical", "infinite")
EXAMPLE = "example"  # the dimension of training examples, or of probes

Kernel = Literal["empirical", "infinite"]
Examples = Literal["train", "probes"]


@register("measure")
def closed_form_departure(
    closed_form: Mapping[str, xr.Dataset], *, kernel: Kernel = "empirical", on: Examples = "train"
) -> xr.DataArray:
    """Distance of outputs from the closed form of a fixed kernel, over how far they moved: ‖f_t − f̂_t‖/‖f_t − f_0‖.

    Over the examples of a task, at every checkpoint: shape (checkpoint, eval_task); ≥ 0; 0 is exact, 1 as wrong as to
    predict no change; NaN where nothing moved, as at initialisation, or where the prediction diverged.

    Args:
        closed_form: outputs as they were, and as kernels have them; see :func:`clntk.runs.closed_form.closed_form`.
        kernel: ``empirical``, the network's own at initialisation; or ``infinite``, that of its infinitely wide twin.
        on: the tasks' training examples, or their probes.

    Raises:
        DataError: for the infinite kernel of a network without an infinitely wide twin.

    Source: Lee et al. 2019, arXiv 1902.06720, eqs. (8)–(11) and theorem 2.1.
    """
    found = closed_form[on].transpose(KERNEL, CHECKPOINT, EVAL_TASK, ...)
    if kernel == "infinite" and found.attrs["without_twin"]:
        raise DataError(
            f"closed_form_departure, kernel: expected 'empirical', found 'infinite'. {found.attrs['without_twin']}"
        )
    actual, predicted = found["actual"], found["predicted"].sel({KERNEL: kernel}, drop=True)
    off, moved = (
        norm(actual - other, [EXAMPLE, OUTPUT], skipna=False)
        for other in (predicted, actual.isel({CHECKPOINT: 0}, drop=True))
    )
    return (off / moved.where(moved > 0)).rename("closed_form_departure")


def norm(
    values: xr.DataArray, dims: Sequence[str], *, skipna: bool | None = None, min_count: int | None = None
) -> xr.DataArray:
    """The Euclidean norm over dimensions; NaN counts as in a sum."""
    # numpy's stubs say that its functions leave labels out, which they do not
    squares = cast(xr.DataArray, np.square(values)).sum(dims, skipna=skipna, min_count=min_count)
    return cast(xr.DataArray, np.sqrt(squares))
