"""One part of an image dataset: labels at once, images when they are asked for."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clntk.errors import DataError

ROOT_VARIABLE = "CLNTK_DATA"


@dataclass(frozen=True)
class Part:
    """A training set, a test set, or both in one.

    Args:
        labels: one integer an image, from 0.
        read: the images of these rows: examples × channels × height × width, floats in [0, 1].
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)


def from_bytes(images: np.ndarray, labels: np.ndarray) -> Part:
    """A part whose images are in memory as bytes, examples × channels × height × width; read as float32."""
    return Part(labels.astype(np.int64), lambda rows: images[rows].astype(np.float32) / 255)


def data_folder(root: Path | None) -> Path:
    """The folder of datasets: the one given, else ``$CLNTK_DATA``, else ``./data``."""
    return Path(os.environ.get(ROOT_VARIABLE, "data")) if root is None else Path(root)


def missing(name: str, places: Iterable[Path], files: Iterable[str], *, besides: str = "") -> DataError:
    """The error for a dataset that is not there: where it was sought, its files, and how to get it."""
    return DataError(
        f"data: {name} is not here: expected {', '.join(files)} in {' or in '.join(map(str, places))}; download it "
        f"with `clntk data fetch {name} --data-root DIR`{besides} and name the folder: stream.data_root=DIR, or "
        f"{ROOT_VARIABLE}=DIR"
    )
