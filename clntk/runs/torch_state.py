"""What torch is set to while clntk trains, whatever a user's own script has set."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

THREADS = 1  # small networks are fastest on one, and sums come out the same on any machine
DTYPE = torch.float32  # of data and weights


@contextmanager
def steady_torch() -> Iterator[None]:
    """Few threads and single precision inside, so that a spec gives the same bits; afterwards all is as before."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(THREADS)
    torch.set_default_dtype(DTYPE)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
