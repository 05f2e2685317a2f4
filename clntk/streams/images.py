"""Images made ready for a stream: chosen, split, on one scale; what all families of image streams share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from clntk.errors import DataError
from clntk.seeding import Purpose, Seeds
from clntk.streams.base import Split, Task, TaskStream
from clntk.streams.data.load import Dataset, load
from clntk.streams.data.part import Part
from clntk.streams.draws import draw_probe, draws

AtLeastTwo = Annotated[int, Field(ge=2)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]

Labelled = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.ndarray, str], np.ndarray]

TEST_FRACTION = 0.25


@dataclass(frozen=True)
class Images:
    """Images on their own scale and labels 0 … n_classes − 1, for training and for testing.

    Args:
        train: images (examples × channels × height × width, or × pixels) and their labels.
        test: likewise.
        n_classes: number of classes.
    """

    train: Labelled
    test: Labelled
    n_classes: int

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation over all pixels of the training set."""
        images, _ = self.train
        flat = images.reshape(len(images), -1)
        return float(flat.mean(dtype=np.float64)), float(flat.std(dtype=np.float64))

    def ready(self, x: np.ndarray, *, flatten: bool) -> Tensor:
        """Images as inputs: mean 0 and variance 1 over the whole training set, as it was before any task's change.

        One mean and one scale for all pixels, so that a permutation changes neither: with the raw, all-positive
        pixels one direction would dominate every kernel.
        """
        mean, sd = self.moments
        scaled = torch.as_tensor((x - mean) / (sd if sd > 0 else 1.0), dtype=torch.float32)
        return scaled.flatten(1) if flatten else scaled

    def planes(self, what: str) -> None:
        """
        Raises:
            DataError: if the images are rows of pixels, where height and width are needed.
        """
        shape = self.train[0].shape
        if len(shape) != 4:
            raise DataError(
                f"{what}: expected images of examples × height × width, or × channels × height × width, found {shape}"
            )


def load_images(
    seeds: Seeds,
    data: Dataset,
    data_root: Path | None,
    *,
    test_fraction: float | None = None,
    n_train: int | None = None,
    flatten: bool = True,
) -> Images:
    """A dataset's images, split into training and test set with the run's data generator.

    Args:
        seeds: the run's generators.
        data: the dataset.
        data_root: where it lies.
        test_fraction: share held out for testing, stratified by class, where the dataset has no test set of its own.
        n_train: training images of each class; by default all.
        flatten: whether the stream will flatten them; if not, they must have channels, height and width.

    Raises:
        DataError: if the dataset is absent or damaged, or an option asks for what it has not.
    """
    train, test = load(data, data_root)
    if test is None:
        train_rows, test_rows = _held_out(
            seeds, train, TEST_FRACTION if test_fraction is None else test_fraction
        )
        test = train
    else:
        if test_fraction is not None:
            raise DataError(
                f"test_fraction: expected none for {data}, which has a test set of its own, found {test_fraction}"
            )
        train_rows, test_rows = np.arange(len(train)), np.arange(len(test))
    if n_train is not None:
        train_rows = _some_of_each_class(train.labels, train_rows, n_train, draws(seeds, "n_train"))
    images = Images(
        (train.read(train_rows), train.labels[train_rows]),
        (test.read(test_rows), test.labels[test_rows]),
        n_classes=int(max(train.labels.max(), test.labels.max())) + 1,
    )
    if not flatten:
        images.planes("flatten=false")
    return images


def image_tasks(
    seeds: Seeds,
    images: Images,
    changes: Sequence[Change],
    *,
    n_probe: int,
    flatten: bool,
    **stream: Any,
) -> TaskStream:
    """A domain-incremental stream: the same images and labels in every task, changed by the task's own function.

    Args:
        seeds: draws the probes.
        images: the images.
        changes: for each task what it does to the images of one part, called with images and ``"train"`` or
            ``"test"``.
        n_probe: probes of each task.
        flatten: whether inputs are rows of pixels.
        stream: further fields of the stream.
    """
    probes = seeds.torch(Purpose.PROBE)
    tasks = []
    for t, change in enumerate(changes):
        train, test = (
            Split(images.ready(change(x, part), flatten=flatten), torch.as_tensor(y))
            for part, (x, y) in (("train", images.train), ("test", images.test))
        )
        tasks.append(Task(f"task{t}", train, test, draw_probe(test, n_probe, probes)))
    return TaskStream(tuple(tasks), outputs=images.n_classes, chance=1 / images.n_classes, **stream)


def with_label_noise(
    labels: np.ndarray, classes: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Labels of which this share is wrong: drawn evenly from the other classes.

    Raises:
        DataError: if there is no other class.

    Source: Nakkiran et al. 2020, arXiv 1912.02292: "a uniformly random incorrect label".
    """
    if not share:
        return labels
    if len(classes) < 2:
        raise DataError(
            f"label_noise: expected at least two classes a task, to mistake one for another, found {len(classes)}"
        )
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    place = {label: k for k, label in enumerate(classes.tolist())}
    old = np.array([place[label] for label in labels[wrong].tolist()], dtype=int)
    out = labels.copy()
    out[wrong] = classes[(old + generator.integers(1, len(classes), size=len(wrong))) % len(classes)]
    return out


def _held_out(seeds: Seeds, pool: Part, share: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    rows, y = np.arange(len(pool)), pool.labels
    random_state = seeds.integer(Purpose.DATA) % 2**32
    try:
        return train_test_split(rows, test_size=share, stratify=y, random_state=random_state)
    except ValueError as error:
        raise DataError(
            "test_fraction: expected a test set with examples of every class, "
            f"found {share} of {len(y)} images: {error}"
        ) from error


def _some_of_each_class(
    labels: np.ndarray, rows: np.ndarray, n: int, generator: np.random.Generator
) -> np.ndarray:
    shuffled = generator.permutation(rows)
    chosen = []
    for label in np.unique(labels[rows]):
        own = shuffled[labels[shuffled] == label]
        if len(own) < n:
            raise DataError(
                f"n_train: expected at most the {len(own)} training images of class {label}, found {n}"
            )
        chosen.append(own[:n])
    return np.sort(np.concatenate(chosen))
