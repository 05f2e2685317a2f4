"""Images that drift away from where they were by a set amount, labels kept."""

import math
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import TaskStream
from clntk.streams.data.load import Dataset
from clntk.streams.draws import draws
from clntk.streams.images import AtLeastTwo, Fraction, Positive, image_tasks, load_images
from clntk.streams.rotated import turns


@register("stream")
def drifting_images(
    seeds: Seeds,
    *,
    data: Dataset = "digits",
    n_tasks: AtLeastTwo = 5,
    drift: Annotated[float, Field(ge=0, le=1)] = 0.5,
    n_train: Positive | None = None,
    n_probe: Positive = 32,
    test_fraction: Fraction | None = None,
    flatten: bool = True,
    data_root: Path | None = None,
) -> TaskStream:
    """Images turned step by step in the space of all pixels, by a set angle: new inputs, same labels.

    Task t of T sees x R(s) with s = drift · t/(T − 1), where x are standardised pixels, R(s) = cos(sπ/2) I +
    sin(sπ/2) J, and J is a random rotation with J² = −I. R(s) is orthogonal and turns every image by exactly 90° · s,
    and R(s)ᵀR(u) = R(u − s). At drift 0 all tasks are alike; at 1 the last task's images are orthogonal to the
    first's. ‖R(s) − I‖_F/√(2n) is √(1 − cos(sπ/2)). Distances between images never change, so that each task alone is
    as hard as any other. With an odd number of pixels n one direction stays where it is.

    Args:
        seeds: the run's generators; J changes with the seed.
        data: the dataset; ``arrays`` are the user's own (images.npy and labels.npy in ``data_root``).
        n_tasks: number of tasks.
        drift: how far the last task has drifted, from 0 (not at all) to 1 (by 90°).
        n_train: training images of each class; null for all.
        n_probe: probes of each task, drawn from its test set.
        test_fraction: share of the images held out for testing, stratified by class; null is 0.25, or the
            dataset's own test set.
        flatten: whether inputs are rows of pixels, or stay channels × height × width.
        data_root: the folder of datasets; null is $CLNTK_DATA, else ./data.
    """
    images = load_images(
        seeds, data, data_root, test_fraction=test_fraction, n_train=n_train, flatten=flatten
    )
    turn = quarter_turn(images.train[0][0].size, draws(seeds, "drift"))
    steps = (drift * np.linspace(0, 1, n_tasks)).tolist()
    changes = [partial(_drifted, turn, images.moments[0], step) for step in steps]
    angles = turns([90 * step for step in steps])
    return image_tasks(seeds, images, changes, n_probe=n_probe, flatten=flatten, angles=angles)


def quarter_turn(n: int, generator: np.random.Generator) -> np.ndarray:
    """A random rotation J of n dimensions with Jᵀ = −J and J² = −I, but for one direction with J v = 0 if n is odd.

    J = V P Vᵀ with V a random orthogonal matrix (Haar) and P turning the first column into the second, and so on.
    """
    from scipy.stats import ortho_group

    basis = ortho_group.rvs(n, random_state=generator)
    even, odd = basis[:, : n - n % 2 : 2], basis[:, 1::2]
    return even @ odd.T - odd @ even.T


def _drifted(turn: np.ndarray, mean: float, step: float, x: np.ndarray, _part: str) -> np.ndarray:
    """x R(s) about the mean pixel, which is what standardised pixels have as their origin."""
    if step == 0:
        return x
    flat = x.reshape(len(x), -1) - mean
    angle = step * math.pi / 2
    moved = math.cos(angle) * flat + math.sin(angle) * (flat @ turn.astype(flat.dtype))
    return (moved + mean).reshape(x.shape)
