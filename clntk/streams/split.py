"""Images split by class into tasks."""

from pathlib import Path

import numpy as np
import torch

from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Purpose, Seeds
from clntk.streams.base import Split, Task, TaskStream
from clntk.streams.data.load import Dataset
from clntk.streams.draws import draw_probe, draws
from clntk.streams.images import (
    TEST_FRACTION,
    AtLeastTwo,
    Fraction,
    Images,
    Labelled,
    Positive,
    Share,
    load_images,
    with_label_noise,
)


@register("stream")
def split_images(
    seeds: Seeds,
    *,
    data: Dataset = "digits",
    n_tasks: AtLeastTwo = 5,
    n_train: Positive | None = None,
    n_probe: Positive = 32,
    test_fraction: Fraction | None = None,
    label_noise: Share = 0.0,
    shuffle_classes: bool = False,
    flatten: bool = True,
    data_root: Path | None = None,
) -> TaskStream:
    """Images split by class into tasks; one head is class-incremental, ``head=multi`` task-incremental.

    Classes that do not divide evenly stay in the stream: the first tasks get one more, and the run's log says so.
    Pixels have mean 0 and variance 1 over the training set.

    Args:
        seeds: the run's generators.
        data: the dataset; ``arrays`` are the user's own (images.npy and labels.npy in ``data_root``).
        n_tasks: number of tasks, at most the number of classes.
        n_train: training images of each class; null for all.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class; null is 0.25, or the
            dataset's own test set.
        label_noise: share of each task's training labels that are wrong: another of the task's own classes.
        shuffle_classes: whether the order of classes changes with the seed.
        flatten: whether inputs are rows of pixels, or stay channels × height × width.
        data_root: the folder of datasets; null is $CLNTK_DATA, else ./data.

    Raises:
        DataError: for more tasks than classes, or label noise in tasks of one class.

    Source: Zenke et al. 2017, arXiv 1703.04200 (split MNIST); van de Ven & Tolias 2019, arXiv 1904.07734 (the three
    scenarios).
    """
    images = load_images(
        seeds, data, data_root, test_fraction=test_fraction, n_train=n_train, flatten=flatten
    )
    classes = np.arange(images.n_classes)
    if n_tasks > len(classes):
        raise DataError(
            f"n_tasks: expected at most {len(classes)} tasks, one class each, found {n_tasks}; lower n_tasks"
        )
    if shuffle_classes:
        classes = seeds.numpy(Purpose.DATA).permutation(classes)
    noise, probes = draws(seeds, "label noise"), seeds.torch(Purpose.PROBE)
    shares = np.array_split(classes, n_tasks)
    tasks = []
    for t, own in enumerate(shares):
        train, test = (_of_classes(images, part, own, flatten) for part in (images.train, images.test))
        wrong = with_label_noise(train.y.numpy(), np.sort(own), label_noise, noise)
        train = Split(train.x, torch.as_tensor(wrong))
        tasks.append(Task(f"task{t}", train, test, draw_probe(test, n_probe, probes)))
    return TaskStream(
        tuple(tasks),
        outputs=images.n_classes,
        chance=1 / images.n_classes,
        notes=_remainder(images.n_classes, [len(own) for own in shares]),
    )


@register("stream")
def split_digits(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 5,
    n_probe: Positive = 32,
    test_fraction: Fraction = TEST_FRACTION,
    shuffle_classes: bool = False,
    data_root: Path | None = None,
) -> TaskStream:
    """Digits split by class into tasks; one head is class-incremental, ``head=multi`` task-incremental.

    ``split_images`` of scikit-learn's digits, or of the user's own arrays.

    Args:
        seeds: the run's generators.
        n_tasks: number of tasks, at most the number of classes.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class.
        shuffle_classes: whether the order of classes changes with the seed.
        data_root: a folder with ``images.npy`` (examples × pixels…) and ``labels.npy`` to use in place of the
            digits.

    Source: Zenke et al. 2017, arXiv 1703.04200 (split MNIST); data: sklearn.datasets.load_digits.
    """
    return split_images(
        seeds,
        data="digits" if data_root is None else "arrays",
        n_tasks=n_tasks,
        n_probe=n_probe,
        test_fraction=test_fraction,
        shuffle_classes=shuffle_classes,
        data_root=data_root,
    )


def _of_classes(images: Images, part: Labelled, classes: np.ndarray, flatten: bool) -> Split:
    x, y = part
    chosen = np.isin(y, classes)
    absent = np.setdiff1d(classes, y[chosen])
    if len(absent):
        raise DataError(
            f"labels: expected images of every class from 0 to {images.n_classes - 1}, found none of {absent[0]}; "
            "number the classes without gaps"
        )
    return Split(images.ready(x[chosen], flatten=flatten), torch.as_tensor(y[chosen]))


def _remainder(n_classes: int, sizes: list[int]) -> tuple[str, ...]:
    if len(set(sizes)) == 1:
        return ()
    return (
        f"stream: {n_classes} classes do not divide evenly into {len(sizes)} tasks; all are kept, "
        f"with {', '.join(map(str, sizes))} classes a task",
    )
