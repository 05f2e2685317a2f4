"""Linear decoding: what a linear read-out of a population tells of task, target and stimulus."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import CHECKPOINT
from clntk.errors import DataError
from clntk.measures.cross_condition import holding_out, over_conditions
from clntk.measures.linear_decoder import PENALTY, UNDECODABLE, Splits, Splitter, Tested, tested
from clntk.measures.population import Columns, by_layer, joint, patterns
from clntk.measures.stimuli import shared_stimuli, target_levels
from clntk.measures.tuning.inputs import factor
from clntk.registry import register

DECODED = "decoded"  # dimension of what is decoded
ASKED = ("task", "target", "task_across_targets", "target_across_tasks", "stimulus_across_tasks")


def decoding_accuracy(
    activations: Any,
    labels: Sequence[Hashable],
    *,
    folds: int = 5,
    C: float = PENALTY,
    null: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Cross-validated accuracy of a linear decoder of labels.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        labels: of the examples, told apart by their text.
        folds: of stratified cross-validation, at least 2; the number of examples of the rarest label if that is less.
        C: the penalty of the support vector machine.
        null: permutations of the labels over the examples, each cross-validated likewise; 0 for none.
        seed: of folds and permutations.

    Returns:
        a dataset of numbers:

        - ``accuracy``: mean recall over labels and folds, in [0, 1];
        - ``chance``: one over the number of labels, which activations that do not vary get exactly;
        - ``null_accuracy``: mean accuracy over the permutations, NaN without any;
        - ``p``: (1 + permutations that do at least as well)/(1 + permutations), NaN without any.

    Raises:
        DataError: for activations that are not two-dimensional, empty, or not finite; labels that are missing or do
            not match them in number; fewer than two labels, or a label of one example.

    Source: Ojala & Garriga 2010, "Permutation tests for studying classifier performance" (test 1).
    """
    values = patterns(activations, "decoding_accuracy, activations")
    codes, names = factor(labels, len(values), "decoding_accuracy, labels")
    rarest = int(np.bincount(codes).min())
    if len(names) < 2 or rarest < 2:
        raise DataError(
            f"decoding_accuracy, labels: expected at least two labels with two examples each, found {len(names)} "
            f"with {rarest} of the rarest; leave rare labels out"
        )
    if folds < 2:
        raise DataError(f"decoding_accuracy, folds: expected at least 2, found {folds}")
    rng = np.random.default_rng(seed)
    return tested(values, codes, stratified(folds, rng), over_examples, C=C, null=null, rng=rng).dataset()


def stratified(folds: int, rng: np.random.Generator) -> Splitter:
    """Stratified folds, fewer where the rarest label has fewer examples; none if it has only one."""
    drawn = int(rng.integers(2**32))

    def split(labels: np.ndarray) -> Splits:
        from sklearn.model_selection import StratifiedKFold

        sizes = np.unique(labels, return_counts=True)[1]
        if len(sizes) < 2 or sizes.min() < 2:
            return []
        n_splits = min(folds, int(sizes.min()))
        return list(StratifiedKFold(n_splits, shuffle=True, random_state=drawn).split(labels, labels))

    return split


def over_examples(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(labels)


@dataclass(frozen=True)
class _Question:
    """What is to be decoded from which examples, and the condition held out, if one is."""

    labels: np.ndarray
    conditions: np.ndarray | None = None
    kept: np.ndarray | None = None


def _questions(probes: xr.Dataset) -> dict[str, _Question]:
    """The questions that the probe sets allow, by name, about the patterns of all tasks, task after task."""
    levels = target_levels(probes)
    task = np.repeat(np.arange(len(levels)), levels.shape[1])
    target = levels.ravel()
    repeated = np.bincount(target)[target] > 1
    questions = {
        "task": _Question(task),
        "target": _Question(target, None, repeated),
        "task_across_targets": _Question(task, target, repeated),
        "target_across_tasks": _Question(target, task, repeated),
    }
    if shared_stimuli(probes):
        questions["stimulus_across_tasks"] = _Question(np.tile(np.arange(levels.shape[1]), len(levels)), task)
    return questions


def _answer(values: np.ndarray, asked: _Question, *, folds: int, C: float, null: int, seed: int) -> Tested:
    rng = np.random.default_rng(seed)
    kept = slice(None) if asked.kept is None else asked.kept
    values, labels = values[kept], asked.labels[kept]
    if asked.conditions is None:
        return tested(values, labels, stratified(folds, rng), over_examples, C=C, null=null, rng=rng)
    conditions = asked.conditions[kept]
    split, shuffle = holding_out(conditions, rng), over_conditions(conditions)
    return tested(values, labels, split, shuffle, C=C, null=null, rng=rng)


def _by_question(result: xr.Dataset) -> xr.Dataset:
    """The accuracy of each question by name."""
    accuracy = result["accuracy"].reset_coords(drop=True)  # a coordinate is called task, too
    return xr.Dataset(
        {str(name): accuracy.sel({DECODED: name}, drop=True) for name in accuracy[DECODED].values}
    )


@register("measure", scalar=_by_question)
def decoding(
    activations: Mapping[str, xr.DataArray],
    probes: xr.Dataset,
    *,
    checkpoints: Literal["ends", "every"] = "ends",
    folds: Annotated[int, Field(ge=2)] = 5,
    C: Annotated[float, Field(gt=0)] = PENALTY,
    null: Annotated[int, Field(ge=0)] = 0,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> xr.Dataset:
    """Linear decoding of task and target from hidden layers, and its generalisation across conditions.

    ``accuracy``, ``chance``, ``null_accuracy`` and ``p`` as of :func:`decoding_accuracy`, of shape (checkpoint,
    layer, decoded), from the patterns of all tasks together. What is ``decoded``:

    - ``task``, ``target``: cross-validated over probes; a target is a class, or the level of a value;
    - ``task_across_targets``, ``target_across_tasks``, ``stimulus_across_tasks``: tested in conditions that were held
      out (:func:`~clntk.measures.cross_condition.cross_condition_accuracy`).

    Probes with a target that no other one has are left out, but for ``task``. NaN where there is nothing to decode or
    to hold out: with continuous targets, targets of which no two occur in several tasks, a single probe, stimuli that
    are not the same in all tasks. A layer that does not vary gets exactly ``chance``. The numbers per run are the
    accuracy of each at the last checkpoint, averaged over layers.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        probes: inputs and targets of the probe sets.
        checkpoints: the first and the last, or every one.
        folds: of cross-validation, fewer where the rarest label has fewer probes.
        C: the penalty of the support vector machine.
        null: permutations of the labels; 0 for none, which leaves ``null_accuracy`` and ``p`` NaN.
        seed: of folds and permutations, the same at every layer and checkpoint.

    Raises:
        DataError: if there are no layers, or activations that are not finite.

    Source: Bernardi et al. 2020 (generalisation across conditions), Ojala & Garriga 2010 (permutations).
    """
    if checkpoints == "ends":
        activations = {name: layer.isel({CHECKPOINT: _ends(layer)}) for name, layer in activations.items()}
    questions = _questions(probes)

    def measured(values: np.ndarray) -> Columns:
        answers = [UNDECODABLE] * len(ASKED)
        for position, name in enumerate(ASKED):
            if name in questions:
                asked = questions[name]
                answers[position] = _answer(joint(values), asked, folds=folds, C=C, null=null, seed=seed)
        return {
            name: ((DECODED,), column)
            for name, column in zip(Tested._fields, np.asarray(answers).T, strict=True)
        }

    return by_layer(activations, measured, {DECODED: list(ASKED)})


def _ends(layer: xr.DataArray) -> list[int]:
    return sorted({0, layer.sizes[CHECKPOINT] - 1})
