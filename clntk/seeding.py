"""One seed becomes named, independent generators, so that no part of a run can disturb another.

Streams come from :class:`numpy.random.SeedSequence` with the purpose's name in the spawn key: adding a purpose
changes none of the others, and two regimes with the same seed share data, initialisation draws and order.
"""

import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Purpose(StrEnum):
    """What a generator is for."""

    DATA = "data"
    INIT = "init"
    ORDER = "order"
    PROBE = "probe"
    DROPOUT = "dropout"
    BOOTSTRAP = "bootstrap"
    GATES = "gates"


@dataclass(frozen=True)
class Seeds:
    """The named generators of one run.

    Args:
        seed: the run's seed, a non-negative integer.
    """

    seed: int

    def _sequence(self, purpose: Purpose) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(Purpose(purpose).value.encode()),))

    def numpy(self, purpose: Purpose) -> np.random.Generator:
        """A fresh NumPy generator for ``purpose``; the same one every time it is asked for."""
        return np.random.default_rng(self._sequence(purpose))

    def integer(self, purpose: Purpose) -> int:
        """A 63-bit integer for ``purpose``, to seed generators that take only a number."""
        return int(self._sequence(purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def torch(self, purpose: Purpose) -> "torch.Generator":
        """A fresh CPU torch generator for ``purpose``."""
        import torch

        return torch.Generator().manual_seed(self.integer(purpose))
