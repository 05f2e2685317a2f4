"""Products of single-precision numbers in single precision, on graphics cards too."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

_SWITCHES = (torch.backends.cudnn, torch.backends.cuda.matmul)  # `allow_tf32`
_OPERATIONS = (
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
    torch.backends.cuda.matmul,
)  # `fp32_precision`


@contextmanager
def full_precision() -> Iterator[None]:
    """TF32 off inside; afterwards as it was. A kernel of 10 bits of mantissa is noise where drift is small.

    Torch has an older switch and a newer setting, and refuses to read the one where the other says otherwise; so both
    are set, and a switch that cannot be read before is not needed after.

    Source: PyTorch's notes on CUDA semantics, "TensorFloat-32 (TF32) on Ampere (and later) devices".
    """
    settings = [(place, "fp32_precision", place.fp32_precision) for place in _OPERATIONS]
    for place in _SWITCHES:
        with suppress(RuntimeError):
            settings.insert(0, (place, "allow_tf32", place.allow_tf32))
    for place in _SWITCHES:
        place.allow_tf32 = False
    for place in _OPERATIONS:
        place.fp32_precision = "ieee"
    try:
        yield
    finally:
        for place, name, value in settings:
            setattr(place, name, value)
