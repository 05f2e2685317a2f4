"""Images whose pixels are shuffled anew for each task."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from clntk.registry import register
from clntk.seeding import Purpose, Seeds
from clntk.streams.base import TaskStream
from clntk.streams.data.load import Dataset
from clntk.streams.draws import draws
from clntk.streams.images import (
    TEST_FRACTION,
    AtLeastTwo,
    Fraction,
    Positive,
    Share,
    image_tasks,
    load_images,
    with_label_noise,
)


@register("stream")
def permuted_images(
    seeds: Seeds,
    *,
    data: Dataset = "digits",
    n_tasks: AtLeastTwo = 5,
    n_train: Positive | None = None,
    n_probe: Positive = 32,
    test_fraction: Fraction | None = None,
    label_noise: Share = 0.0,
    flatten: bool = True,
    data_root: Path | None = None,
) -> TaskStream:
    """Images whose pixels are shuffled anew for each task: new inputs, same labels (domain-incremental).

    The first task keeps the pixels in place; elsewhere every value, of every colour, gets a new place. Permutations,
    split and probes change with the seed. Pixels have mean 0 and variance 1 over the training set.

    Args:
        seeds: the run's generators.
        data: the dataset; ``arrays`` are the user's own (images.npy and labels.npy in ``data_root``).
        n_tasks: number of tasks.
        n_train: training images of each class; null for all.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class; null is 0.25, or the
            dataset's own test set.
        label_noise: share of the training labels that are wrong, the same ones in every task.
        flatten: whether inputs are rows of pixels, or stay channels × height × width.
        data_root: the folder of datasets; null is $CLNTK_DATA, else ./data.

    Source: Goodfellow et al. 2013, arXiv 1312.6211 (permuted MNIST).
    """
    images = load_images(
        seeds, data, data_root, test_fraction=test_fraction, n_train=n_train, flatten=flatten
    )
    x, y = images.train
    labels = with_label_noise(y, np.arange(images.n_classes), label_noise, draws(seeds, "label noise"))
    generator, n_pixels = seeds.torch(Purpose.DATA), x[0].size
    orders = [np.arange(n_pixels)]
    orders += [torch.randperm(n_pixels, generator=generator).numpy() for _ in range(n_tasks - 1)]
    changes = [partial(_permuted, order) for order in orders]
    return image_tasks(seeds, replace(images, train=(x, labels)), changes, n_probe=n_probe, flatten=flatten)


@register("stream")
def permuted_digits(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 5,
    n_probe: Positive = 32,
    test_fraction: Fraction = TEST_FRACTION,
    data_root: Path | None = None,
) -> TaskStream:
    """Digits whose pixels are shuffled anew for each task: new inputs, same labels (domain-incremental).

    ``permuted_images`` of scikit-learn's digits, or of the user's own arrays.

    Args:
        seeds: the run's generators.
        n_tasks: number of tasks.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class.
        data_root: a folder with ``images.npy`` (examples × pixels…) and ``labels.npy`` to use in place of the
            digits.

    Source: Goodfellow et al. 2013, arXiv 1312.6211 (permuted MNIST); data: sklearn.datasets.load_digits.
    """
    data: Dataset = "digits" if data_root is None else "arrays"
    return permuted_images(
        seeds, data=data, n_tasks=n_tasks, n_probe=n_probe, test_fraction=test_fraction, data_root=data_root
    )


def _permuted(order: np.ndarray, x: np.ndarray, _part: str) -> np.ndarray:
    return x.reshape(len(x), -1)[:, order].reshape(x.shape)
