"""Kernels written by an engine's workers: the same numbers, nothing sent that need not be, nothing left behind."""

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

import clntk
from clntk import register
from clntk.engine import Lost
from clntk.errors import DataError

LAYERS = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
X = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
OTHERS = X[:4] + 1
TILE = (2 * 3) ** 2 * 8  # bytes: two examples of three outputs


class Elsewhere:
    """An engine whose workers have but what they are sent; some cells may cost them their lives."""

    def __init__(self, deadly):
        self.deadly, self.sent, self.closed = deadly, 0, False

    def map(self, work, cells, tell):
        packed = cloudpickle.dumps(work)
        self.sent = len(packed)
        workers = [cloudpickle.loads(packed) for _ in range(2)]
        for i, cell in enumerate(cells):
            yield Lost(cell, "it died") if cell == self.deadly else workers[i % 2](cell, tell)

    def close(self):
        self.closed = True


@pytest.fixture
def made():
    """The engines that were made; the next one loses ``deadly``."""
    engines = []

    @register("engine", "elsewhere")
    def elsewhere(*, deadly: list[int] | None = None):
        """Somewhere else."""
        engines.append(Elsewhere(deadly and tuple(deadly)))
        return engines[-1]

    return engines


@pytest.mark.parametrize("mode", ["full", "trace", "sum_logits"])
@pytest.mark.parametrize("other", [None, OTHERS])
@pytest.mark.parametrize("layout", ["ncmd", "cndm"])
def test_the_same_as_in_this_process(made, tmp_path, mode, other, layout):
    how = {"mode": mode, "layout": layout, "block_bytes": TILE}
    here = clntk.empirical_ntk(LAYERS, X, other, out=tmp_path / "here", **how)
    there = clntk.empirical_ntk(LAYERS, X, other, out=tmp_path / "there", engine="elsewhere", **how)
    np.testing.assert_array_equal(there.values, here.values)
    assert made[0].closed
    assert {p.name for p in tmp_path.iterdir()} == {"here", "there", ".here.lock", ".there.lock"}


def test_inputs_are_read_by_whoever_needs_them_and_not_sent(made, tmp_path):
    clntk.empirical_ntk(LAYERS, X.repeat(300, 1), out=tmp_path / "k", engine="elsewhere", mode="trace")
    assert made[0].sent < 20_000


def test_a_tile_that_kills_its_workers_is_named_and_the_others_are_kept(made, tmp_path):
    out, how = tmp_path / "k", {"block_bytes": TILE}
    deadly = {"name": "elsewhere", "deadly": [3, 1]}
    with pytest.raises(
        DataError, match=r"tile \(3, 1\) could not be computed: it died; give each worker more"
    ):
        clntk.empirical_ntk(LAYERS, X, out=out, engine=deadly, **how)
    assert made[0].closed
    assert not (tmp_path / ".k.inputs").exists()
    there = sum(path.is_file() for path in (out / "c").rglob("*"))
    assert 0 < there < 15
    found = clntk.empirical_ntk(LAYERS, X, out=out, **how)
    np.testing.assert_allclose(found.values, clntk.empirical_ntk(LAYERS, X).numpy(), rtol=1e-12)


def test_an_engine_needs_a_folder():
    with pytest.raises(DataError, match=r"empirical_ntk.engine: expected a folder out as well"):
        clntk.empirical_ntk(LAYERS, X, engine="serial")
