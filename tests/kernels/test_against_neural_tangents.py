"""The empirical kernel against stored values of Google's neural-tangents, which shares no code with it.

`make_neural_tangents_values.py` made the file; only that needs neural-tangents.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import clntk

VALUES = Path(__file__).with_name("neural_tangents_values.npz")

NETS = {
    "relu": lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)),
    "tanh": lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 4, 2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ),
    "one output": lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1)),
}


def _stored(name: str) -> tuple[nn.Sequential, dict[str, Tensor]]:
    """The network with its stored weights, and the rest: x1, x2, full, cross and trace."""
    with np.load(VALUES, allow_pickle=False) as file:
        held = {
            key.removeprefix(f"{name}/"): torch.from_numpy(file[key])
            for key in file
            if key.startswith(f"{name}/")
        }
    model = NETS[name]().double()
    model.load_state_dict({key: held.pop(key) for key in model.state_dict()})
    return model, held


def _assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() <= 1e-10 * expected.norm()


@pytest.mark.parametrize("name", NETS)
def test_full_kernels_are_those_of_neural_tangents(name):
    model, held = _stored(name)
    _assert_same(clntk.empirical_ntk(model, held["x1"]), held["full"])
    _assert_same(clntk.empirical_ntk(model, held["x1"], held["x2"]), held["cross"])


@pytest.mark.parametrize("name", NETS)
def test_the_trace_is_the_number_of_outputs_times_their_mean(name):
    model, held = _stored(name)
    _assert_same(clntk.empirical_ntk(model, held["x1"], mode="trace"), held["trace"])
