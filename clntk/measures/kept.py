"""Whether the logits that orthogonal gradient descent keeps stay where they are."""

from typing import cast

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT
from clntk.registry import register

KEPT = "kept"  # the dimension of logits kept


@register("measure")
def kept_forgetting(kept_outputs: xr.Dataset) -> xr.Dataset:
    """What becomes of the training logits whose gradients ``ogd`` or ``pca_ogd`` kept, once they are kept.

    Over all that were kept at earlier checkpoints, each of shape (checkpoint,), without a row for initialisation:

    - ``loss``: by how much their loss has grown on average since they were kept: each logit's own ½(f − y)² under
      squared errors, else the loss of its example, in which logits that were not kept have a part;
    - ``drift``: the root mean square of their change since, over that of their change in the phase after which they
      were kept: 0 where they stay, 1 where they move as far as learning had moved them.

    Of a strategy that keeps none, the same over all that ``ogd`` draws from if not told otherwise: the label's logit of
    every training example, or all logits of float targets. NaN before anything was kept.

    Args:
        kept_outputs: ``logit``, ``loss`` (checkpoint, kept), and the checkpoints ``since`` and ``before``; see
            :func:`clntk.runs.kept.kept_outputs`.

    Source: Farajtabar et al. 2020, arXiv 1910.07104; Doan et al. 2021, arXiv 2010.04003, definition 1 (drift).
    """
    then, start = (kept_outputs.sel({CHECKPOINT: kept_outputs[name]}) for name in ("since", "before"))
    positions = kept_outputs.indexes[CHECKPOINT].get_indexer(kept_outputs["since"])
    rows = xr.DataArray(np.arange(kept_outputs.sizes[CHECKPOINT]), dims=CHECKPOINT)
    earlier = rows > xr.DataArray(positions, dims=KEPT)

    def total(values: xr.DataArray) -> xr.DataArray:
        return values.where(earlier).sum(KEPT, min_count=1)

    moved, learned = kept_outputs["logit"] - then["logit"], then["logit"] - start["logit"]
    # numpy's stubs say that its functions leave labels out, which they do not
    squares, of_learning = (cast(xr.DataArray, np.square(change)) for change in (moved, learned))
    learning = total(of_learning.broadcast_like(moved))
    found = {
        "loss": (kept_outputs["loss"] - then["loss"]).where(earlier).mean(KEPT),
        "drift": np.sqrt(total(squares) / learning.where(learning > 0)),
    }
    return xr.Dataset(found).isel({CHECKPOINT: slice(1, None)})
