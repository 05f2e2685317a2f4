"""Representational similarity: which of several hypotheses about a code its distances between patterns fit.

The observed distances are regressed on those of model codes, which keep, drop or turn the features of a stimulus in
each context.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.errors import DataError
from clntk.measures.dissimilarity import MODEL, R_SQUARED, Metric, rdm, rdm_regression
from clntk.measures.population import Columns, by_layer, joint, patterns
from clntk.measures.stimuli import deciding_features
from clntk.measures.tuning.inputs import factor
from clntk.registry import register

ModelName = Literal["grid", "orthogonal", "parallel", "diagonal"]


def model_codes(
    features: Mapping[Hashable, Any], contexts: Sequence[Hashable] | np.ndarray, *, offset: float = 1.0
) -> dict[str, np.ndarray]:
    """Coordinates of model codes for stimuli in contexts, in each of which another feature decides.

    Args:
        features: context → the feature that decides in it, for every example, whichever its context. The axes of the
            models cross at zero, so centre the features there.
        contexts: the context of each example; told apart by their text.
        offset: distance that every model puts between two contexts, on axes of their own.

    Returns:
        for each model an array (examples, axes):

        - ``grid``: all features, in all contexts alike;
        - ``orthogonal``: only the feature that decides, each context along an axis of its own;
        - ``parallel``: only the feature that decides, all contexts along one axis (``orthogonal``, turned);
        - ``diagonal``: the sum of the features over √contexts: one axis that serves all contexts half-well.

    Raises:
        DataError: for fewer than two contexts, features that are not finite numbers or do not match the examples, and
            contexts of which no feature is known.

    Source: Flesch et al. 2022, "Orthogonal representations for robust context-dependent task performance".
    """
    known = [str(context) for context in features]
    columns = [np.asarray(column) for column in features.values()]
    if len(known) < 2 or {column.shape for column in columns} != {(len(contexts),)}:
        raise DataError(
            f"model_codes, features: expected two contexts or more, each with a feature of {len(contexts)} examples, "
            f"found { ({name: column.shape for name, column in zip(known, columns, strict=True)}) }"
        )
    values = patterns(np.stack(columns, axis=1), "model_codes, features")
    codes, names = factor(contexts, len(values), "model_codes, contexts")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise DataError(
            f"model_codes, contexts: expected {', '.join(known)}, as in features, found {', '.join(unknown)} besides"
        )
    context = np.eye(len(known))[[known.index(name) for name in names]][codes]
    own = values * context
    axes = {
        "grid": values,
        "orthogonal": own,
        "parallel": own.sum(axis=1, keepdims=True),
        "diagonal": values.sum(axis=1, keepdims=True) / np.sqrt(len(known)),
    }
    # a one-hot code puts contexts √2 apart
    return {name: np.hstack([kept, context * offset / np.sqrt(2)]) for name, kept in axes.items()}


def _by_model(result: xr.Dataset) -> xr.Dataset:
    """One number a model, and the variance explained."""
    result = result.reset_coords(drop=True)  # of which a model of one's own might have the name
    betas = {str(name): result["beta"].sel({MODEL: name}, drop=True) for name in result[MODEL].values}
    return xr.Dataset(betas | {R_SQUARED: result[R_SQUARED]})


@register("measure", scalar=_by_model)
def rsa(
    activations: Mapping[str, xr.DataArray],
    probes: xr.Dataset,
    *,
    models: tuple[ModelName, ...] = ("grid", "orthogonal", "parallel"),
    own: dict[str, list[list[float]]] | None = None,
    metric: Metric = "euclidean",
    offset: Annotated[float, Field(ge=0)] = 1.0,
) -> xr.Dataset:
    """Weights of model codes (grid, orthogonal, parallel, diagonal) in the distances between hidden patterns.

    ``beta`` (checkpoint, layer, model) and ``r_squared`` (checkpoint, layer) of :func:`rdm_regression`, of the
    patterns of all tasks together. The named models need tasks that judge the same stimuli by a value each, as
    ``context_blobs`` does; for every other stream their weights are NaN, and without models of one's own
    ``r_squared`` is, too. NaN where all patterns are the same. The numbers per run are the weight of each model, and
    ``r_squared``, at the last checkpoint.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        probes: inputs and targets of the probe sets.
        models: which of :func:`model_codes` enter the regression, all at once.
        own: name → coordinates in a model of one's own, one row an example: all probes of the first task, then the
            second's ….
        metric: the distance between hidden patterns; those of models are Euclidean.
        offset: distance that the named models put between two contexts.

    Raises:
        DataError: if there are no layers, activations that are not finite, or models that cannot be told apart.

    Source: Flesch et al. 2022, "Orthogonal representations for robust context-dependent task performance".
    """
    own = own or {}
    _refuse_own(own)
    codes = _codes(probes, models, offset) | own
    named = [*models, *own]
    model_rdms = {name: rdm(codes[name]) for name in codes}

    def measured(values: np.ndarray) -> Columns:
        if not model_rdms:
            return {"beta": ((MODEL,), np.full(len(named), np.nan)), R_SQUARED: ((), float("nan"))}
        fit = rdm_regression(rdm(joint(values), metric=metric), model_rdms)
        return {
            "beta": ((MODEL,), fit["beta"].reindex({MODEL: named}).values),
            R_SQUARED: ((), fit[R_SQUARED].values),
        }

    return by_layer(activations, measured, {MODEL: named})


def _refuse_own(own: Mapping[str, list[list[float]]]) -> None:
    taken = {*get_args(ModelName), R_SQUARED} & set(own)
    if taken:
        raise DataError(
            f"rsa, own: expected names that no other model has, found {', '.join(sorted(taken))}; rename them"
        )
    for name, rows in own.items():
        if len({len(row) for row in rows}) != 1:
            raise DataError(
                f"rsa, own.{name}: expected one row an example, all of the same length, found "
                f"{len(rows)} rows of lengths {sorted({len(row) for row in rows})}"
            )


def _codes(probes: xr.Dataset, models: Sequence[ModelName], offset: float) -> dict[str, Any]:
    """The chosen model codes of a stream's probes; none if its tasks do not share stimuli."""
    features = deciding_features(probes)
    if features is None:
        return {}
    n_probes, n_tasks = features.shape
    by_context: dict[Hashable, np.ndarray] = {
        t: np.tile(column, n_tasks) for t, column in enumerate(features.T)
    }
    codes = model_codes(by_context, np.repeat(np.arange(n_tasks), n_probes), offset=offset)
    return {name: codes[name] for name in models}
