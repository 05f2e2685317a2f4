"""The infinitely wide twin of a published run's network, and its kernels on the run's probes."""

import torch
import xarray as xr

from clntk.axes import EVAL_TASK, INIT, OTHER_PROBE, OTHER_TASK, PROBE
from clntk.errors import DataError, StoreError
from clntk.kernels.infinite.kernels import infinite_nngp, infinite_ntk
from clntk.kernels.infinite.spec import InfiniteSpec
from clntk.runs.opened import Run


def infinite_twin(run: Run) -> InfiniteSpec:
    """The infinitely wide network that a run's network is a finite draw of, read off it at initialisation.

    Raises:
        StoreError: for a network that depends on the task, or has no infinite-width form: see
            :func:`clntk.kernels.infinite.read.read`; or one that cannot be rebuilt.
    """
    if run.probe_sets.gated:
        raise StoreError(
            f"{run.path}: expected a network with an infinitely wide twin, found one that {run.spec.strategy['name']} "
            "makes depend on the task, by gates or shares of its weights; take a strategy that does not"
        )
    try:
        return InfiniteSpec.of(run.network(INIT))
    except DataError as error:
        raise StoreError(f"{run.path}: has no infinitely wide twin: {error}") from error


def infinite_kernels(run: Run) -> xr.Dataset:
    """Kernels of a run's infinitely wide twin on its probes, as task blocks, in float64: what finite ones tend to.

    Returns:
        ``ntk``, Θ_st, and ``nngp``, the covariance of outputs at initialisation, both summed over outputs as the probe
        ``kernels`` is: eval_task × other_task × probe × other_probe. There is one of each: neither moves in training.

    Raises:
        StoreError: as :func:`infinite_twin` does.
    """
    twin, sets = infinite_twin(run), run.probe_sets
    x = torch.cat(list(sets.inputs.values())).double()
    tasks, outputs = list(sets.inputs), sets.stream.outputs
    dims = (EVAL_TASK, PROBE, OTHER_TASK, OTHER_PROBE)
    sides = (len(tasks), len(x) // len(tasks)) * 2
    found = {
        name: (dims, outputs * kernel(twin, x).numpy().reshape(sides))
        for name, kernel in (("ntk", infinite_ntk), ("nngp", infinite_nngp))
    }
    kernels = xr.Dataset(found, coords={EVAL_TASK: tasks, OTHER_TASK: tasks})
    return kernels.transpose(EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE)
