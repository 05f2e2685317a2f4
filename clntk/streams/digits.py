"""Image streams that need no download: scikit-learn's digits, or the user's own arrays, permuted or split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Purpose, Seeds
from clntk.streams.base import Schedule, Split, Task, TaskStream, draw_probe, training_order

AtLeastTwo = Annotated[int, Field(ge=2)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Images:
    """Flattened images with labels 0 … n_classes − 1, split into train and test.

    Pixels have mean 0 and variance 1 over the whole training set (one mean and one scale for all pixels, so that a
    permutation changes neither): with the raw, all-positive pixels one direction would dominate every kernel.
    """

    train: Split
    test: Split
    n_classes: int


@register("stream")
def permuted_digits(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 5,
    n_probe: Positive = 32,
    test_fraction: Fraction = 0.25,
    schedule: Schedule = "blocked",
    data_root: Path | None = None,
) -> TaskStream:
    """Digits whose pixels are shuffled anew for each task: new inputs, same labels (domain-incremental).

    The first task keeps the pixels in place. Permutations, split and probes change with the seed.

    Args:
        seeds: the run's generators.
        n_tasks: number of tasks.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class.
        schedule: training order.
        data_root: a folder with ``images.npy`` (examples × pixels…) and ``labels.npy`` to use in place of the
            digits.

    Source: Goodfellow et al. 2013, arXiv 1312.6211 (permuted MNIST); data: sklearn.datasets.load_digits.
    """
    images = load_images(seeds, test_fraction, data_root)
    generator, probes = seeds.torch(Purpose.DATA), seeds.torch(Purpose.PROBE)
    n_pixels = images.train.x.shape[1]
    tasks = []
    for t in range(n_tasks):
        order = torch.arange(n_pixels) if t == 0 else torch.randperm(n_pixels, generator=generator)
        train, test = (Split(part.x[:, order], part.y) for part in (images.train, images.test))
        tasks.append(Task(f"task{t}", train, test, draw_probe(test, n_probe, probes)))
    return _class_stream(tasks, images.n_classes, schedule, chance=1 / images.n_classes)


@register("stream")
def split_digits(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 5,
    n_probe: Positive = 32,
    test_fraction: Fraction = 0.25,
    shuffle_classes: bool = False,
    schedule: Schedule = "blocked",
    data_root: Path | None = None,
) -> TaskStream:
    """Digits split by class into tasks, all read out by one head (class-incremental).

    Classes that do not divide evenly stay in the stream: the first tasks get one more.

    Args:
        seeds: the run's generators.
        n_tasks: number of tasks, at most the number of classes.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class.
        shuffle_classes: whether the order of classes changes with the seed.
        schedule: training order.
        data_root: as in ``permuted_digits``.

    Source: Zenke et al. 2017, arXiv 1703.04200 (split MNIST); van de Ven & Tolias 2019 (the three scenarios).
    """
    images = load_images(seeds, test_fraction, data_root)
    if n_tasks > images.n_classes:
        raise DataError(
            f"split_digits: expected at most {images.n_classes} tasks, one class each, found {n_tasks}"
        )
    classes = np.arange(images.n_classes)
    if shuffle_classes:
        classes = seeds.numpy(Purpose.DATA).permutation(classes)
    probes = seeds.torch(Purpose.PROBE)
    tasks = []
    for t, members in enumerate(np.array_split(classes, n_tasks)):
        wanted = torch.as_tensor(members)
        train, test = (part.subset(torch.isin(part.y, wanted)) for part in (images.train, images.test))
        tasks.append(Task(f"task{t}", train, test, draw_probe(test, n_probe, probes)))
    return _class_stream(tasks, images.n_classes, schedule, chance=1 / images.n_classes)


def load_images(seeds: Seeds, test_fraction: float, data_root: Path | None) -> Images:
    """Digits, or the arrays in ``data_root``, split with the run's data generator and standardised."""
    from sklearn.model_selection import train_test_split

    x, y = _digits() if data_root is None else _arrays(Path(data_root))
    random_state = seeds.integer(Purpose.DATA) % 2**32
    try:
        parts = train_test_split(x, y, test_size=test_fraction, stratify=y, random_state=random_state)
    except ValueError as error:
        raise DataError(
            "test_fraction: expected a test set with examples of every class, "
            f"found {test_fraction} of {len(y)} images: {error}"
        ) from error
    train_x, test_x, train_y, test_y = parts
    mean, sd = train_x.mean(), train_x.std()
    train_x, test_x = ((part - mean) / (sd if sd > 0 else 1.0) for part in (train_x, test_x))
    return Images(_split(train_x, train_y), _split(test_x, test_y), int(y.max()) + 1)


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    return Split(torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.long))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x, y


def _arrays(root: Path) -> tuple[np.ndarray, np.ndarray]:
    if not root.is_dir():
        raise DataError(
            f"data_root: expected a folder with images.npy and labels.npy, found nothing at {root}; check the path"
        )
    arrays = []
    for name in ("images.npy", "labels.npy"):
        try:
            arrays.append(np.load(root / name, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"data_root: could not read {root / name}: {error}") from error
    x, y = arrays
    real = np.issubdtype(x.dtype, np.number) and not np.iscomplexobj(x)
    if not real or x.ndim < 2 or x.size == 0:
        raise DataError(
            f"data_root: expected images of numbers (examples × pixels…), found {x.shape} of {x.dtype}"
        )
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"data_root: expected one integer label an image, found images {x.shape} and labels {y.shape} of {y.dtype}"
        )
    return x.reshape(len(x), -1).astype(np.float64), y.astype(np.int64)


def _class_stream(tasks: list[Task], n_classes: int, schedule: Schedule, *, chance: float) -> TaskStream:
    phases = training_order([task.name for task in tasks], schedule)
    return TaskStream(tuple(tasks), phases, outputs=n_classes, chance=chance)
