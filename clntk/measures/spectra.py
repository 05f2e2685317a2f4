"""Spectra: how much of a task's kernel there is, and over how many directions of function space it is spread."""

import numpy as np
import xarray as xr

from clntk.axes import OTHER_PROBE, PROBE
from clntk.measures.drift import within_task
from clntk.measures.geometry import effective_rank, participation_ratio
from clntk.measures.tuning.inputs import refuse_non_finite
from clntk.registry import register


@register("measure")
def kernel_spectrum(kernels: xr.DataArray) -> xr.Dataset:
    """Norm, trace, top eigenvalue, effective rank and participation ratio of every task's kernel.

    All of the block K_tt with N probes, as recorded (summed over outputs, divided by nothing), at every checkpoint;
    each of shape (checkpoint, eval_task):

    - ``norm``: ‖K‖_F; ``trace``: Σλ; ``top_eigenvalue``: the largest λ; all ≥ 0 and in the units of the kernel;
    - ``effective_rank``: exp(−Σ p ln p) with p = λ/Σλ; ``participation_ratio``: (Σλ)²/Σλ². Both in [1, N], and NaN
      for a block that is all zero: one if a single direction learns, N if all learn equally fast.

    Raises:
        DataError: for kernels that are not finite, or not positive semi-definite.

    Source: Roy & Vetterli 2007, "The effective rank"; Gao et al. 2017, "A theory of multineuronal dimensionality,
    dynamics and measurement".
    """
    blocks = within_task(kernels)
    refuse_non_finite(blocks.values, "kernel_spectrum, kernels", of="kernels", column="probe")
    eigenvalues = np.linalg.eigvalsh(blocks.values)
    like = blocks.isel({PROBE: 0, OTHER_PROBE: 0}, drop=True)
    found = {
        "norm": np.linalg.norm(blocks.values, axis=(-2, -1)),
        "trace": np.trace(blocks.values, axis1=-2, axis2=-1),
        "top_eigenvalue": eigenvalues[..., -1],
        "effective_rank": effective_rank(eigenvalues),
        "participation_ratio": participation_ratio(eigenvalues),
    }
    return xr.Dataset({name: like.copy(data=values) for name, values in found.items()})
