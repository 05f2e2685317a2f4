"""Laziness: how far the weights have moved from where they began, and how much of it a linear model would know."""

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, INIT, LAYER, OUTPUT, PARAM, PROBE
from clntk.errors import DataError
from clntk.registry import register

ALL = "all"  # the row of all parameters taken together


def refuse_without_init(facts: xr.Dataset | xr.DataArray, where: str) -> None:
    """Raise a :class:`DataError` if the first checkpoint of ``facts`` is not ``"init"``."""
    labels = [str(label) for label in facts[CHECKPOINT].values]
    if labels[:1] != [INIT]:
        raise DataError(
            f"{where}: expected the first checkpoint to be {INIT!r}, found the checkpoints {labels}; "
            "changes are measured from initialisation, so record there too"
        )


def _squared_norms(weights: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """‖θ_k−θ_0‖² of shape (checkpoint, param) and ‖θ_0‖² of shape (param,), one column a parameter.

    Raises:
        DataError: if there are no parameters, or the first checkpoint is not ``"init"``.
    """
    if not weights.data_vars:
        raise DataError(
            "weights: expected at least one parameter, found none; record the weights at every checkpoint"
        )
    refuse_without_init(weights, "weights")
    moved, start = [], []
    for values in weights.data_vars.values():
        # float64, since squares of small float32 differences lose what is to be measured
        flat = (
            values.transpose(CHECKPOINT, ...).values.astype(np.float64).reshape(values.sizes[CHECKPOINT], -1)
        )
        moved.append(((flat - flat[0]) ** 2).sum(axis=1))
        start.append((flat[0] ** 2).sum())
    return np.stack(moved, axis=1), np.stack(start)


def layer_of(parameter: str) -> str:
    """The path of the module that a parameter belongs to; one of no module is a layer by itself."""
    return parameter.rpartition(".")[0] or parameter


def _change(
    moved: np.ndarray, start: np.ndarray, weights: xr.Dataset, axis: str, labels: list[str], name: str
) -> xr.DataArray:
    """‖θ_k−θ_0‖/‖θ_0‖ from squared norms, one column a label; NaN where the start is zero."""
    change = np.full(moved.shape, np.nan)
    np.divide(np.sqrt(moved), np.sqrt(start), out=change, where=start > 0)
    coords = dict(weights[CHECKPOINT].coords) | {axis: labels}
    return xr.DataArray(change, dims=(CHECKPOINT, axis), coords=coords, name=name)


def _all_at_the_end(result: xr.DataArray) -> xr.DataArray:
    """The last checkpoint, over all parameters together."""
    return result.sel({PARAM: ALL}).isel({CHECKPOINT: -1})


@register("measure", scalar=_all_at_the_end)
def relative_weight_change(weights: xr.Dataset) -> xr.DataArray:
    """Distance of the weights from initialisation, relative to their norm there: ‖θ_k−θ_0‖/‖θ_0‖.

    It is the norm of the difference, never the difference of the norms. Shape (checkpoint, param), where
    param is ``"all"`` (the norms over all parameters together) and then every parameter; without unit, ≥ 0,
    zero at initialisation. A parameter that starts at zero, as many biases do, has no relative change: its
    own row is NaN, and it still counts in ``"all"``. The number per run is ``"all"`` at the last checkpoint.

    Raises:
        DataError: if there are no parameters, or the first checkpoint is not ``"init"``.

    Source: Chizat et al. 2019, "On lazy training in differentiable programming".
    """
    moved, start = _squared_norms(weights)
    moved = np.concatenate([moved.sum(axis=1, keepdims=True), moved], axis=1)
    start = np.concatenate([start.sum(keepdims=True), start])
    labels = [ALL, *map(str, weights.data_vars)]
    return _change(moved, start, weights, PARAM, labels, "relative_weight_change")


@register("measure")
def layer_weight_change(weights: xr.Dataset) -> xr.DataArray:
    """Distance of each layer's weights from initialisation, relative to their norm there: ‖θ_k−θ_0‖/‖θ_0‖.

    A layer is a module with parameters of its own, by its path, its weights and biases taken together; a parameter
    of no module is one by itself. Shape (checkpoint, layer); without unit, ≥ 0, zero at initialisation; NaN for a
    layer that starts at zero. The number per run is the mean over layers at the last checkpoint.

    Raises:
        DataError: if there are no parameters, or the first checkpoint is not ``"init"``.

    Source: Chizat et al. 2019, "On lazy training in differentiable programming", by layer.
    """
    moved, start = _squared_norms(weights)
    owners = [layer_of(str(name)) for name in weights.data_vars]
    layers = list(dict.fromkeys(owners))
    member = np.array([[owner == layer for layer in layers] for owner in owners], dtype=np.float64)
    return _change(moved @ member, start @ member, weights, LAYER, layers, "layer_weight_change")


def relative_gap(now: np.ndarray, linear: np.ndarray, start: np.ndarray, *, terms: int) -> np.ndarray:
    """‖f − f_lin‖/‖f − f_0‖ over the last two axes, of outputs of shape (..., example, output).

    Shape (...); ≥ 0; exactly zero where only rounding is left of the gap, NaN where no output has moved and where
    either network's outputs are NaN.

    Args:
        now: f(θ), in float64.
        linear: f_lin(θ), the first-order expansion around θ_0.
        start: f(θ_0).
        terms: how many numbers an output is a sum of, at most: the rounding of a sum grows with them.
    """
    moved, gap, size = (np.linalg.norm(v, axis=(-2, -1)) for v in (now - start, now - linear, now))
    gap = np.where(gap <= terms * np.finfo(np.float64).eps * size, 0.0, gap)  # NaN stays NaN
    return np.divide(gap, moved, out=np.full(moved.shape, np.nan), where=moved > 0)


@register("measure")
def linearisation_error(linearisation: xr.Dataset) -> xr.DataArray:
    """Error of the network linearised at initialisation, over how far it moved: ‖f(θ_k)−f_lin(θ_k)‖/‖f(θ_k)−f(θ_0)‖.

    On every task's probes, over all outputs, in double precision; f_lin(θ) = f(θ_0) + ∇f(θ_0)(θ − θ_0) at the weights
    θ_k that the network itself has reached. Shape (checkpoint, eval_task); ≥ 0; zero for a network that is linear in
    its weights and near one, or above, for one whose expansion tells nothing; NaN where no output has moved, as at
    initialisation.

    Args:
        linearisation: ``outputs``, ``linear`` and ``start`` of shape (checkpoint, eval_task, probe, output), with the
            number of parameters as attribute ``parameters``.

    Source: Chizat et al. 2019, "On lazy training in differentiable programming"; f_lin: Lee et al. 2019,
    arXiv 1902.06720, eq. (3).
    """
    names = ("outputs", "linear", "start")
    now, linear, start = (linearisation[name].transpose(..., PROBE, OUTPUT) for name in names)
    error = relative_gap(now.values, linear.values, start.values, terms=linearisation.attrs["parameters"])
    return now.isel({PROBE: 0, OUTPUT: 0}, drop=True).copy(data=error).rename("linearisation_error")
