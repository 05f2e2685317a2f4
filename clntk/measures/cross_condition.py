"""Cross-condition generalisation: whether a linear read-out learned in some conditions serves in others."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from clntk.errors import DataError
from clntk.measures.linear_decoder import PENALTY, Shuffler, Splits, Splitter, tested
from clntk.measures.population import patterns
from clntk.measures.tuning.inputs import factor

MOST_SPLITS = 100  # choices of held-out conditions; beyond, as many are drawn


def cross_condition_accuracy(
    activations: Any,
    labels: Sequence[Hashable],
    conditions: Sequence[Hashable],
    *,
    C: float = PENALTY,
    null: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Accuracy of a linear decoder in conditions that it was not trained on (CCGP).

    Where conditions cross the labels (stimulus classes in several tasks), each condition is held out in turn, and the
    labels are tested that occur in it and elsewhere. Where every condition has one label (the dichotomies of Bernardi
    et al.), one condition of each label is held out at a time, in all combinations, or 100 drawn ones if there are
    more.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        labels: what is decoded, told apart by their text.
        conditions: the condition of each example, likewise.
        C: the penalty of the support vector machine.
        null: permutations of the labels, within conditions where they cross, of whole conditions where each has one
            label; 0 for none.
        seed: of permutations and drawn combinations.

    Returns:
        a dataset of numbers as of :func:`decoding_accuracy`; ``accuracy`` is the mean over held-out conditions of the
        mean recall over the labels tested; it is below chance for a code that is turned over between conditions.

    Raises:
        DataError: as :func:`decoding_accuracy`, and if no condition can be held out: there have to be two labels in
            it, and two to learn without it.

    Source: Bernardi et al. 2020, "The geometry of abstraction in the hippocampus and prefrontal cortex".
    """
    values = patterns(activations, "cross_condition_accuracy, activations")
    codes, names = factor(labels, len(values), "cross_condition_accuracy, labels")
    condition, found = factor(conditions, len(values), "cross_condition_accuracy, conditions")
    rng = np.random.default_rng(seed)
    split = holding_out(condition, rng)
    if not split(codes):
        raise DataError(
            f"cross_condition_accuracy: expected two labels that occur in a condition to be held out, and in others "
            f"to learn from, found {len(names)} labels in {len(found)} conditions without such; merge conditions"
        )
    return tested(values, codes, split, over_conditions(condition), C=C, null=null, rng=rng).dataset()


def _one_label_each(labels: np.ndarray, conditions: np.ndarray) -> bool:
    """Whether every condition has one label."""
    return len(np.unique([conditions, labels], axis=1).T) == len(np.unique(conditions))


def holding_out(conditions: np.ndarray, rng: np.random.Generator) -> Splitter:
    """Held-out conditions: each in turn where labels cross them, else one of each label at a time."""

    def split(labels: np.ndarray) -> Splits:
        held_out = (
            _one_of_each_label(labels, conditions, rng)
            if _one_label_each(labels, conditions)
            else (conditions == condition for condition in np.unique(conditions))
        )
        splits = []
        for out in held_out:
            learned = np.unique(labels[~out])
            tested = out & np.isin(labels, learned)
            if len(np.unique(labels[tested])) > 1:
                splits.append((np.flatnonzero(~out), np.flatnonzero(tested)))
        return splits

    return split


def _one_of_each_label(
    labels: np.ndarray, conditions: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Which examples are held out, for every choice of one condition of each label, or for some drawn ones."""
    by_label = [np.unique(conditions[labels == label]) for label in np.unique(labels)]
    if prod(map(len, by_label)) <= MOST_SPLITS:
        choices: Iterator[tuple[Any, ...]] = product(*by_label)
    else:
        choices = (tuple(rng.choice(those) for those in by_label) for _ in range(MOST_SPLITS))
    return (np.isin(conditions, chosen) for chosen in choices)


def over_conditions(conditions: np.ndarray) -> Shuffler:
    """Labels shuffled within conditions where they cross, else dealt to whole conditions anew."""

    def shuffle(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if _one_label_each(labels, conditions):
            _, first, position = np.unique(conditions, return_index=True, return_inverse=True)
            return rng.permutation(labels[first])[position]
        shuffled = labels.copy()
        for condition in np.unique(conditions):
            here = np.flatnonzero(conditions == condition)
            shuffled[here] = rng.permutation(labels[here])
        return shuffled

    return shuffle
