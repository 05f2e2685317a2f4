"""A user's own images: a folder with images.npy and labels.npy."""

from pathlib import Path

import numpy as np

from clntk.errors import DataError
from clntk.streams.data.part import Part


def own_arrays(root: Path | None) -> Part:
    """Images (examples × pixels, × height × width, or × channels × height × width) and labels, on their own scale.

    Raises:
        DataError: if they are not there, damaged, not numbers, or not one integer label an image.
    """
    if root is None or not Path(root).is_dir():
        raise DataError(
            f"data_root: expected a folder with images.npy and labels.npy, found nothing at {root}; check the path"
        )
    x, y = (_array(Path(root) / name) for name in ("images.npy", "labels.npy"))
    real = np.issubdtype(x.dtype, np.number) and not np.iscomplexobj(x)
    if not real or x.ndim < 2 or x.size == 0:
        raise DataError(
            f"data_root: expected images of numbers (examples × pixels…), found {x.shape} of {x.dtype}"
        )
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"data_root: expected one integer label an image, found images {x.shape} and labels {y.shape} of {y.dtype}"
        )
    if x.ndim == 3:
        x = x[:, None]
    return Part(y.astype(np.int64), lambda rows: x[rows].astype(np.float64))


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"data_root: could not read {path}: {error}") from error
