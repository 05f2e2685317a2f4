"""Large arrays that are cheap to touch for the first time."""

import numpy as np
import torch
from torch import Tensor

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A tensor of zeros of the dtype and on the device of another.

    On a CPU the memory is NumPy's, which asks Linux for large pages where torch does not: writing a kernel of 400 MB
    for the first time then takes less than half the time.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    return torch.from_numpy(np.zeros(shape, dtype=_NUMPY[like.dtype]))


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A tensor of any content; see :func:`zeros`."""
    if like.device.type != "cpu":
        return like.new_empty(shape)
    return torch.from_numpy(np.empty(shape, dtype=_NUMPY[like.dtype]))
