"""Random draws for data: named, so that one of them never disturbs another."""

import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from clntk.errors import DataError
from clntk.seeding import Purpose, Seeds

if TYPE_CHECKING:
    from clntk.streams.base import Split


def draws(seeds: Seeds, what: str) -> np.random.Generator:
    """A generator for one named use of the data seed; another use's draws are independent of it."""
    return np.random.default_rng([seeds.integer(Purpose.DATA), zlib.crc32(what.encode())])


def draw_probe(pool: "Split", n_probe: int, generator: torch.Generator) -> "Split":
    """A fixed random subset of ``n_probe`` examples.

    Raises:
        DataError: if the pool is smaller than that.
    """
    if n_probe > len(pool):
        raise DataError(
            f"n_probe: expected at most the {len(pool)} test examples of a task, found {n_probe}; lower n_probe"
        )
    return pool.subset(torch.randperm(len(pool), generator=generator)[:n_probe])
