"""Images turned by another angle in each task."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import Angles, TaskStream
from clntk.streams.data.load import Dataset
from clntk.streams.images import AtLeastTwo, Fraction, Positive, image_tasks, load_images

N_TASKS = 5


@register("stream")
def rotated_images(
    seeds: Seeds,
    *,
    data: Dataset = "digits",
    n_tasks: AtLeastTwo | None = None,
    angles: list[float] | None = None,
    max_angle: Annotated[float, Field(gt=0, le=360)] = 180.0,
    n_train: Positive | None = None,
    n_probe: Positive = 32,
    test_fraction: Fraction | None = None,
    flatten: bool = True,
    data_root: Path | None = None,
) -> TaskStream:
    """Images turned about their centre by an angle of each task's own: new inputs, same labels.

    Turned anticlockwise with bilinear interpolation, black (0) where nothing was; at 0° they are untouched. The
    stream's ``task_angle`` is the angle between two tasks, in [0°, 180°].

    Args:
        seeds: the run's generators.
        data: the dataset; ``arrays`` are the user's own (images.npy and labels.npy in ``data_root``).
        n_tasks: number of tasks; null is as many as ``angles``, else 5.
        angles: the angle of each task in degrees; null spaces them evenly from 0 to ``max_angle``.
        max_angle: the last task's angle where ``angles`` is null.
        n_train: training images of each class; null for all.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class; null is 0.25, or the
            dataset's own test set.
        flatten: whether inputs are rows of pixels, or stay channels × height × width.
        data_root: the folder of datasets; null is $CLNTK_DATA, else ./data.

    Raises:
        DataError: for another number of angles than tasks, or images without height and width.

    Source: Lopez-Paz & Ranzato 2017, arXiv 1706.08840 (rotated MNIST).
    """
    if angles is None:
        angles = np.linspace(0, max_angle, N_TASKS if n_tasks is None else n_tasks).tolist()
    elif n_tasks not in (None, len(angles)):
        raise DataError(
            f"angles: expected {n_tasks}, one for each task, found {len(angles)}; leave out n_tasks"
        )
    images = load_images(
        seeds, data, data_root, test_fraction=test_fraction, n_train=n_train, flatten=flatten
    )
    images.planes("rotated_images")
    changes = [partial(rotated, angle) for angle in angles]
    return image_tasks(seeds, images, changes, n_probe=n_probe, flatten=flatten, angles=turns(angles))


def rotated(angle: float, x: np.ndarray, _part: str = "") -> np.ndarray:
    """Images (examples × channels × height × width) turned anticlockwise by an angle in degrees."""
    from scipy import ndimage

    if angle % 360 == 0:
        return x
    return ndimage.rotate(x, angle, axes=(2, 3), reshape=False, order=1)


def turns(angles: list[float]) -> Angles:
    """The angle in [0°, 180°] between each two directions given by their angles in degrees."""
    between = np.abs(np.subtract.outer(angles, angles)) % 360
    return tuple(map(tuple, np.minimum(between, 360 - between).tolist()))
