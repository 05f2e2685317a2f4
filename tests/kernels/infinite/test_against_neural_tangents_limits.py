"""The kernels of infinite width against stored values of Google's neural-tangents, which shares no code with them."""

import numpy as np
import pytest
import torch
from make_infinite_values import CONVOLUTIONAL, CONVOLUTIONS, DENSE, VALUES, WIDTH

import clntk
from clntk import InfiniteSpec


def _spec(name):
    if name in CONVOLUTIONS:
        return InfiniteSpec.convolutional(depth=2, **CONVOLUTIONAL, **CONVOLUTIONS[name])
    options = DENSE[name]
    sizes = {"width": WIDTH, "inputs": 5} if "parametrization" in options else {}
    return InfiniteSpec.fully_connected(depth=len(options["sigma_w"]) - 1, **options, **sizes)


@pytest.mark.parametrize("name", [*DENSE, *CONVOLUTIONS])
def test_kernels_are_those_of_neural_tangents(name):
    with np.load(VALUES, allow_pickle=False) as file:
        held = {key: torch.from_numpy(file[f"{name}/{key}"]) for key in ("x1", "x2", "nngp", "ntk", "own")}
    spec, x1, x2 = _spec(name), held["x1"], held["x2"]
    for found, expected in (
        (clntk.infinite_nngp(spec, x1, x2), held["nngp"]),
        (clntk.infinite_ntk(spec, x1, x2), held["ntk"]),
    ):
        assert found.shape == expected.shape == (4, 3)
        assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    # on the diagonal arccos(1) costs neural-tangents half the digits; ours is exact there
    own, off = clntk.infinite_ntk(spec, x1), ~torch.eye(4, dtype=torch.bool)
    assert (own - held["own"])[off].abs().max() <= 1e-10 * own.abs().max()
    assert (own - held["own"]).abs().max() <= 1e-6 * own.abs().max()
