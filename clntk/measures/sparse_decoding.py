"""How few units tell the task: decoders that pay for every unit that they read."""

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import CHECKPOINT
from clntk.errors import DataError
from clntk.measures.population import Columns, by_layer, joint, patterns
from clntk.measures.tuning.inputs import factor, refuse_one_task
from clntk.registry import register

PATH = np.geomspace(1e-3, 1e2, 16)  # inverse penalties from where no unit is read to where all may be


def decoding_path(
    activations: Any, labels: Any, *, folds: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Units read, and accuracy, of L1-penalised logistic decoders along a path of penalties.

    One decoder a label against all others, on activations scaled to a variance of one by the training examples; the
    answer is the label whose decoder is surest. A unit is read if any of them gives it a weight. Both numbers are means
    over stratified folds, tested on examples held out; accuracy is that of balanced classes: the mean recall of labels.

    Args:
        activations: shape (examples, units).
        labels: one for each example.
        folds: of cross-validation, fewer where the rarest label has fewer examples.
        seed: of the folds.

    Returns:
        number of units and accuracy in [0, 1], each of shape (penalties), from the strongest penalty to the weakest.

    Raises:
        DataError: for activations that are not finite numbers, labels that do not match them, or fewer than two labels,
            or one with a single example.
    """
    values = patterns(activations, "decoding_path")
    codes, names = factor(labels, len(values), "decoding_path, labels")
    refuse_one_task(len(names), "decoding_path, labels")
    rarest = int(np.bincount(codes).min())
    if rarest < 2:
        raise DataError(
            "decoding_path, labels: expected at least two examples of each, to learn from and to test on, found one of "
            f"{names[int(np.bincount(codes).argmin())]!r}; give more examples"
        )
    from sklearn.model_selection import StratifiedKFold

    splits = StratifiedKFold(min(folds, rarest), shuffle=True, random_state=seed).split(values, codes)
    found = [_along(values, codes, train, test, seed) for train, test in splits]
    units, accuracy = np.mean(found, axis=0)
    return units, accuracy


def _along(
    values: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int
) -> np.ndarray:
    """Units and accuracy of one fold, shape (2, penalties)."""
    from sklearn.metrics import balanced_accuracy_score

    mean, spread = values[train].mean(axis=0), values[train].std(axis=0)
    scaled = np.divide(values - mean, spread, out=np.zeros_like(values), where=spread > 0)
    out = []
    for strength in PATH:
        weights, offsets = _one_against_all(scaled[train], codes[train], strength, seed)
        answer = (scaled[test] @ weights.T + offsets).argmax(axis=1)
        out.append((int(weights.any(axis=0).sum()), balanced_accuracy_score(codes[test], answer)))
    return np.array(out).T


def _one_against_all(
    values: np.ndarray, codes: np.ndarray, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights, shape (labels, units), and offsets, shape (labels); of two labels, one decoder is the other's mirror."""
    from sklearn import config_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    decoders = []
    two = codes.max() == 1
    for label in [1] if two else range(codes.max() + 1):
        decoder = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", C=strength, class_weight="balanced", random_state=seed
        )
        with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
            # the weakest penalties may need more sweeps than they get; what they read is an upper bound anyway
            warnings.simplefilter("ignore", ConvergenceWarning)
            decoders.append(decoder.fit(values, codes == label))
    weights = np.concatenate([decoder.coef_ for decoder in decoders])
    offsets = np.concatenate([decoder.intercept_ for decoder in decoders])
    return (np.concatenate([-weights, weights]), np.append(-offsets, offsets)) if two else (weights, offsets)


def units_needed(units: np.ndarray, accuracy: np.ndarray, fraction: float, chance: float) -> float:
    """The fewest units on a path that reach ``fraction`` of the way from chance to the best accuracy on it.

    NaN where nothing on the path is better than chance.

    Args:
        units: shape (penalties).
        accuracy: shape (penalties).
        fraction: in (0, 1].
        chance: the accuracy of guessing.
    """
    best = accuracy.max()
    if best <= chance:
        return float("nan")
    return float(units[accuracy >= chance + fraction * (best - chance) - 1e-12].min())


@register("measure")
def units_to_decode_task(
    activations: Mapping[str, xr.DataArray],
    *,
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.95,
    checkpoints: Literal["ends", "every"] = "ends",
    folds: Annotated[int, Field(ge=2)] = 3,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> xr.Dataset:
    """How few units of a hidden layer tell the task: few in a localist code, many in a distributed one.

    Of each layer (checkpoint, layer): ``units``, the fewest that reach ``fraction`` of the way from chance to the best
    accuracy along a path of L1-penalised decoders (:func:`decoding_path`); ``share``, as a fraction of the layer's
    units; ``accuracy``, that best one. ``units`` and ``share`` are NaN where no decoder beats chance. It is an upper
    bound, of a path and not of a search: units that say the same share the weight that one of them could have. And a
    task that is seen in the inputs, a cue above all, needs few units under any code. The numbers per run are means over
    layers, at the last checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        fraction: how much of the best decoding is wanted.
        checkpoints: the first and the last, or every one.
        folds: of cross-validation, fewer where there are fewer probes of a task.
        seed: of the folds.

    Raises:
        DataError: if there are no layers, fewer than two tasks or probes, or activations that are not finite.

    Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso".
    """
    if checkpoints == "ends":
        activations = {
            name: layer.isel({CHECKPOINT: sorted({0, layer.sizes[CHECKPOINT] - 1})})
            for name, layer in activations.items()
        }

    def measured(values: np.ndarray) -> Columns:
        tasks = np.repeat(np.arange(len(values)), values.shape[1])
        units, accuracy = decoding_path(joint(values), tasks, folds=folds, seed=seed)
        needed = units_needed(units, accuracy, fraction, 1 / len(values))
        found = {"units": needed, "share": needed / values.shape[-1], "accuracy": accuracy.max()}
        return {name: ((), np.float64(value)) for name, value in found.items()}

    return by_layer(activations, measured)
