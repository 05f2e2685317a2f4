"""Images corrupted in another way in each task."""

import math
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import TaskStream
from clntk.streams.data.load import Dataset
from clntk.streams.draws import draws
from clntk.streams.images import Fraction, Positive, image_tasks, load_images

Corruption = Literal["none", "gaussian_noise", "blur", "contrast", "occlusion"]
Severity = Annotated[float, Field(ge=0, le=1)]


@register("stream")
def noisy_images(
    seeds: Seeds,
    *,
    data: Dataset = "digits",
    corruptions: Annotated[list[Corruption], Field(min_length=2)] | None = None,
    severity: Severity | list[Severity] = 0.5,
    n_train: Positive | None = None,
    n_probe: Positive = 32,
    test_fraction: Fraction | None = None,
    flatten: bool = True,
    data_root: Path | None = None,
) -> TaskStream:
    """Images corrupted in another way in each task: new inputs, same labels (see ``corrupted`` for the kinds).

    Args:
        seeds: the run's generators; noise and places of occlusion change with the seed.
        data: the dataset; ``arrays`` are the user's own (images.npy and labels.npy in ``data_root``).
        corruptions: the kind of each task; null is none, gaussian_noise, blur, contrast, occlusion, in this order.
        severity: from 0 (untouched) to 1, one for all tasks or one for each.
        n_train: training images of each class; null for all.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class; null is 0.25, or the
            dataset's own test set.
        flatten: whether inputs are rows of pixels, or stay channels × height × width.
        data_root: the folder of datasets; null is $CLNTK_DATA, else ./data.

    Raises:
        DataError: for another number of severities than tasks, or images without height and width.

    Source: Hendrycks & Dietterich 2019, arXiv 1903.12261 (the kinds; their five grades are a continuum here).
    """
    kinds = list(get_args(Corruption)) if corruptions is None else corruptions
    grades = [severity] * len(kinds) if isinstance(severity, int | float) else severity
    if len(grades) != len(kinds):
        raise DataError(
            f"severity: expected one or {len(kinds)}, one for each of corruptions, found {len(grades)}"
        )
    images = load_images(
        seeds, data, data_root, test_fraction=test_fraction, n_train=n_train, flatten=flatten
    )
    images.planes("noisy_images")
    low, high = float(images.train[0].min()), float(images.train[0].max())

    def change(t: int, kind: Corruption, grade: float, x: np.ndarray, part: str) -> np.ndarray:
        generator = draws(seeds, f"corruption of {part} set {t}")
        unit = (x - low) / (high - low or 1.0)
        return corrupted(unit, kind, grade, generator) * (high - low) + low

    changes = [
        partial(change, t, kind, grade) for t, (kind, grade) in enumerate(zip(kinds, grades, strict=True))
    ]
    return image_tasks(seeds, images, changes, n_probe=n_probe, flatten=flatten)


def corrupted(x: np.ndarray, kind: Corruption, severity: float, generator: np.random.Generator) -> np.ndarray:
    """Images in [0, 1] (examples × channels × height × width), corrupted; still in [0, 1].

    At severity s: ``gaussian_noise`` of standard deviation s/2, cut off at 0 and 1; ``blur`` by a Gaussian whose
    standard deviation is s/8 of the width; ``contrast`` lowered to 1 − s about each image's mean; ``occlusion`` by a
    black square of s/2 of the height and width, to the nearest pixel, at a random place in each image.
    """
    if kind == "none" or severity == 0:
        return x
    if kind == "gaussian_noise":
        return np.clip(x + generator.normal(0, severity / 2, x.shape).astype(x.dtype), 0, 1)
    if kind == "contrast":
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        return mean + (1 - severity) * (x - mean)
    if kind == "occlusion":
        return _occluded(x, severity / 2, generator)
    from scipy import ndimage

    sigma = severity * x.shape[3] / 8
    return ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest")


def _occluded(x: np.ndarray, side: float, generator: np.random.Generator) -> np.ndarray:
    n, _, height, width = x.shape
    covered = np.ones((n, 1, height, width), dtype=bool)
    for axis, size in ((2, height), (3, width)):
        length = math.floor(side * size + 0.5)
        start = generator.integers(0, size - length + 1, size=(n, 1, 1, 1))
        place = np.arange(size).reshape([-1 if a == axis else 1 for a in range(4)])
        covered &= (place >= start) & (place < start + length)
    return np.where(covered, 0, x).astype(x.dtype)
