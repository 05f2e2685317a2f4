"""Products of single-precision numbers in single precision, whatever the device would rather do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, cast

import torch


class _Operation(Protocol):
    fp32_precision: str


_BACKENDS = cast(Any, torch.backends)  # torch puts other modules in their places, with more attributes
_OPERATIONS: tuple[_Operation, ...] = (
    _BACKENDS.cudnn.conv,
    _BACKENDS.cudnn.rnn,
    _BACKENDS.cuda.matmul,
    _BACKENDS.mkldnn.conv,
    _BACKENDS.mkldnn.rnn,
    _BACKENDS.mkldnn.matmul,
)


def _allow_cudnn(tf32: bool) -> None:
    torch.backends.cudnn.allow_tf32 = tf32


_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], None], Any], ...] = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (lambda: torch.backends.cudnn.allow_tf32, _allow_cudnn, False),
)  # the older ones: how to read and to set each, and to what


@contextmanager
def full_precision() -> Iterator[None]:
    """TF32 and bfloat16 off inside; afterwards as it was. A kernel of 10 bits is noise where drift is small.

    Torch has older switches and newer settings, and refuses to read the one where the other says otherwise; so both
    are set, and a switch that cannot be read before is not needed after. A setting that was inherited inherits again,
    but for cuDNN's own default, which torch cannot set: TF32 is then said outright.

    Source: PyTorch's notes on CUDA semantics, "TensorFloat-32 (TF32) on Ampere (and later) devices".
    """
    settings = [(operation, operation.fp32_precision) for operation in _OPERATIONS]
    switches = []
    for read, switch, _ in _SWITCHES:
        with suppress(RuntimeError):
            switches.append((switch, read()))
    try:
        for _, switch, off in _SWITCHES:
            switch(off)
        for operation in _OPERATIONS:
            operation.fp32_precision = "ieee"
        yield
    finally:
        for switch, value in switches:
            switch(value)
        for operation, value in settings:
            operation.fp32_precision = "none"
            if operation.fp32_precision != value:
                operation.fp32_precision = value
