"""How many threads a small network is trained on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

THREADS = 1  # small networks are fastest on one, and sums come out the same on any machine


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Few threads inside; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
