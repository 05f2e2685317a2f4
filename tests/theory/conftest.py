"""Kernels of features that are there to be looked at, and runs small enough to be predicted."""

import numpy as np
import pytest

import clntk

STREAM = '''
"""Noise to be learned by heart; probes are not training data."""

import torch

from clntk import register
from clntk.streams.base import Split, Task, TaskStream


@register("stream")
def noise(seeds, *, values: bool = False, n_tasks: int = 3):
    """Labels or values at random."""
    g = torch.Generator().manual_seed(seeds.seed)

    def split(n):
        x = torch.randn(n, 4, generator=g)
        return Split(x, torch.randn(n, 2, generator=g) if values else torch.randint(2, (n,), generator=g))

    tasks = (Task(f"task{t}", split(9), split(5), split(6)) for t in range(n_tasks))
    return TaskStream(tuple(tasks), target="value" if values else "class")
'''
LAZY = {"it": {"name": "linearized"}}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def full():
    """The full kernel of Jacobians (N, C, P) and (M, C, P), with nothing but a sum over parameters."""

    def make(left, right=None):
        return np.einsum("ncp,mdp->ncmd", left, left if right is None else right)

    return make


@pytest.fixture(scope="module")
def one_run(tmp_path_factory, write_protocol):
    made, streams = {}, tmp_path_factory.mktemp("code") / "streams.py"
    streams.write_text(STREAM)

    def make(strategy, **keys):
        clntk.use(streams)  # a test forgets it, and what comes from disk does not load it
        if (key := repr((strategy, keys))) not in made:
            folder = tmp_path_factory.mktemp("run")
            keys = {"stream": {"name": "noise"}, "model": {"name": "mlp", "width": 8}, "regimes": LAZY} | keys
            path = write_protocol(
                folder, strategy=strategy, use=[str(streams)], measures=[], **({"seeds": 1} | keys)
            )
            made[key] = clntk.run(path, store=folder / "runs")
        return made[key]

    return make
