"""The linear decoder: how it is trained, scored, and compared with shuffled labels.

It is scikit-learn's linear support vector machine, one against one, on patterns that are centred and scaled to a
total variance of one by the training examples alone. So its accuracy is blind to rotation and scale of the code, and
``C`` means the same for every network. Accuracy is the mean of the recalls of all labels: guessing gets one over the
number of labels, whatever their frequencies.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from clntk.measures.population import centred, principal_axes

PENALTY = 10.0  # C: hardly any shrinkage of patterns whose total variance is one

Splits = list[tuple[np.ndarray, np.ndarray]]  # training and test examples
Splitter = Callable[[np.ndarray], Splits]  # of labels
Shuffler = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Tested(NamedTuple):
    """What a decoder achieves; the names are those of the datasets' variables."""

    accuracy: float
    chance: float
    null_accuracy: float
    p: float

    def dataset(self) -> xr.Dataset:
        return xr.Dataset(self._asdict())


UNDECODABLE = Tested(*[float("nan")] * 4)


def tested(
    values: np.ndarray,
    labels: np.ndarray,
    split: Splitter,
    shuffle: Shuffler,
    *,
    C: float,
    null: int,
    rng: np.random.Generator,
) -> Tested:
    """A decoder's accuracy on the splits of the labels, and on those of shuffled labels.

    Args:
        values: shape (examples, units).
        labels: integers, shape (examples,).
        split: labels → pairs of training and test examples; no pair means that nothing can be decoded.
        shuffle: labels → labels as they might be if they meant nothing.
        C: the penalty of the support vector machine.
        null: how many times to shuffle.
        rng: of the shuffles.
    """
    splits = split(labels)
    if not splits:
        return UNDECODABLE
    moved = centred(values)
    if moved.shape[1] > len(moved):  # turned onto as many axes as there are examples, nothing is lost
        moved = moved @ principal_axes(moved)[1]
    accuracy = _accuracy(moved, labels, splits, C)
    chance = float(np.mean([1 / len(np.unique(labels[train])) for train, _ in splits]))
    shuffled = (shuffle(labels, rng) for _ in range(null))
    by_chance = np.array([_accuracy(moved, other, split(other), C) for other in shuffled])
    if not null:
        return Tested(accuracy, chance, float("nan"), float("nan"))
    p = (1 + int((by_chance >= accuracy - 1e-12).sum())) / (1 + null)
    return Tested(accuracy, chance, float(by_chance.mean()), p)


def _accuracy(values: np.ndarray, labels: np.ndarray, splits: Splits, C: float) -> float:
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    # of centred patterns, gamma="scale" is one over their total variance; a polynomial of degree 1 is linear; without
    # random_state, a seed is drawn that nothing uses
    machine = SVC(
        kernel="poly", degree=1, coef0=0.0, gamma="scale", C=C, class_weight="balanced", random_state=0
    )
    decoder = make_pipeline(StandardScaler(with_std=False), machine)
    with warnings.catch_warnings():
        # one example of each stimulus is enough to learn it from, when another condition is tested
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        scores = cross_val_score(
            decoder, values, labels, cv=splits, scoring=_mean_recall, error_score="raise"
        )
    return float(scores.mean())


def _mean_recall(decoder: Any, values: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the labels that occur of the share of their examples that are recognised."""
    right = decoder.predict(values) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
