"""Features: whether the hidden layers still respond to the probes as they did at initialisation."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, OTHER_PROBE, PROBE, UNIT
from clntk.errors import DataError
from clntk.measures.drift import Reference, against, cosine_distance
from clntk.measures.laziness import refuse_without_init
from clntk.measures.population import centred
from clntk.measures.tuning.inputs import refuse_non_finite
from clntk.registry import register


def _layers(activations: Mapping[str, xr.DataArray], where: str) -> Iterator[tuple[str, xr.DataArray]]:
    """Each layer's label and activations, of shape (checkpoint, eval_task, probe, unit)."""
    if not activations:
        raise DataError(
            f"{where}, activations: expected at least one layer, found none; record activations of hidden layers"
        )
    for label, values in activations.items():
        layer = values.transpose(CHECKPOINT, EVAL_TASK, PROBE, UNIT)
        refuse_non_finite(layer.values, f"{where}, activations of layer {label!r}")
        yield label, layer


def _gram(patterns: np.ndarray) -> np.ndarray:
    """XXᵀ of patterns about their mean, shape (..., probe, other_probe): the centred linear kernel HXXᵀH."""
    moved = centred(patterns.astype(np.float64))
    return moved @ moved.swapaxes(-1, -2)


@register("measure")
def feature_movement(activations: Mapping[str, xr.DataArray], *, reference: Reference = "init") -> xr.Dataset:
    """How far hidden activity has moved: 1 − linear CKA with the same layer at a reference checkpoint.

    With X the activity on the probes about its mean, CKA = ‖X_kᵀX_0‖²_F/(‖X_kᵀX_k‖_F‖X_0ᵀX_0‖_F). It is blind to
    rotations of the units and to scale; in [0, 1], zero if nothing else has happened, and exact for the smallest
    movements, where 1 − CKA would be rounding.

    - ``own`` (checkpoint, layer, eval_task): on the probes of one task;
    - ``joint`` (checkpoint, layer): on the probes of all tasks together.

    NaN where activity does not vary, as in a dead layer or with a single probe.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        reference: ``"init"``; ``"previous"``, the checkpoint before, so that the first row is NaN; or ``"every"``,
            which adds a last dimension of the checkpoints compared with.

    Raises:
        DataError: if there are no layers, activations are not finite, the reference is none of the three, or is
            ``"init"`` and was not recorded.

    Source: Kornblith et al. 2019, "Similarity of neural network representations revisited".
    """

    def movement(grams: np.ndarray, like: xr.DataArray, dims: tuple[str, ...]) -> xr.DataArray:
        coords = {name: labels for name, labels in like.coords.items() if set(labels.dims) <= set(dims)}
        kernels = xr.DataArray(grams, dims=(*dims, PROBE, OTHER_PROBE), coords=coords)
        return against(kernels, reference, cosine_distance, "feature_movement")

    rows = []
    for label, layer in _layers(activations, "feature_movement"):
        together = layer.values.reshape(len(layer), -1, layer.sizes[UNIT])
        row = {
            "own": movement(_gram(layer.values), layer, (CHECKPOINT, EVAL_TASK)),
            "joint": movement(_gram(together), layer, (CHECKPOINT,)),
        }
        rows.append(xr.Dataset(row).expand_dims({LAYER: [label]}, axis=1))
    return xr.concat(rows, dim=LAYER)


@register("measure")
def gate_flips(activations: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Fraction of a hidden layer's gates that have flipped since initialisation: a > 0 now, but not then, or back.

    Over all units and probes of a task, a unit with a ReLU on a probe being one gate. Shape (checkpoint, layer,
    eval_task); in [0, 1], zero at initialisation. For other nonlinearities it is the fraction of activations that
    changed between positive and not positive.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit, after the nonlinearity.

    Raises:
        DataError: if there are no layers, activations are not finite, or the first checkpoint is not ``"init"``.
    """
    rows = []
    for label, layer in _layers(activations, "gate_flips"):
        refuse_without_init(layer, f"gate_flips, activations of layer {label!r}")
        open_ = layer > 0
        flipped = (open_ != open_.isel({CHECKPOINT: 0}, drop=True)).mean([PROBE, UNIT])
        rows.append(flipped.expand_dims({LAYER: [label]}, axis=1))
    return xr.concat(rows, dim=LAYER).rename("gate_flips")
