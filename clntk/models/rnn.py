"""Recurrent networks, built from linear layers: kernels, regimes and capture then see each of their parts."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from clntk.models.layers import Positive, drawn
from clntk.models.shapes import sequence_shape
from clntk.registry import register
from clntk.shape import TaskShape

Cell = Literal["tanh", "gru", "lstm"]
GATES: dict[str, int] = {"tanh": 1, "gru": 3, "lstm": 4}  # linear maps to each unit, in torch's order


@register("model")
def rnn(
    shape: TaskShape,
    *,
    width: Positive = 64,
    depth: Positive = 1,
    cell: Cell = "tanh",
    bias: bool = True,
) -> nn.Module:
    """A recurrent network for sequences: ``depth`` recurrent layers, and a linear read-out of the last time step.

    The cells are those of ``nn.RNN``, ``nn.GRU`` and ``nn.LSTM`` with one bias a gate, at the input. Weights are drawn
    from N(0, 1/fan-in); biases are zero, but one at the forget gates. Hidden layers are ``hidden1``, …, whose units are
    captured at every time step: ``hidden1#1``, ``hidden1#2``, ….

    Args:
        shape: shape of the inputs (time, features) and number of outputs.
        width: units in each layer.
        depth: number of layers; each gets the states of the one below at every step.
        cell: plain tanh units, gated recurrent units, or long short-term memory.
        bias: whether gates and read-out have biases.

    Raises:
        DataError: if the inputs are not sequences.

    Source: Elman 1990; Cho et al. 2014, arXiv 1406.1078; Hochreiter & Schmidhuber 1997; Jozefowicz et al. 2015 (forget
    gates).
    """
    _, features = sequence_shape(shape, "rnn")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(depth):
        layers[f"hidden{index + 1}"] = Recurrent(features, width, cell, bias=bias)
        features = width
    layers["last"] = LastStep()
    layers["readout"] = drawn(nn.Linear(width, shape.outputs, bias=bias))
    return nn.Sequential(layers)


class GatedTanh(nn.Tanh):
    """gate · tanh(x) + rest: the nonlinearity that ends a step, whose output is the new state."""

    def forward(self, x: Tensor, gate: Tensor | float = 1.0, rest: Tensor | float = 0.0) -> Tensor:
        return gate * super().forward(x) + rest


class Recurrent(nn.Module):
    """One recurrent layer: (N, time, features) → the states (N, time, width), from a state of zeros."""

    def __init__(self, features: int, width: int, cell: Cell, *, bias: bool) -> None:
        super().__init__()
        self.width, self.cell = width, cell
        self.input = drawn(nn.Linear(features, GATES[cell] * width, bias=bias))
        self.recurrent = drawn(nn.Linear(width, GATES[cell] * width, bias=False))
        self.state = GatedTanh()
        if cell == "lstm" and bias:
            with torch.no_grad():
                self.input.bias[width : 2 * width] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        driven = self.input(x)
        h = memory = driven.new_zeros(len(x), self.width)
        states = []
        for t in range(x.shape[1]):
            match self.cell:
                case "tanh":
                    h = self.state(driven[:, t] + self.recurrent(h))
                case "gru":
                    h = self._gru(driven[:, t], h)
                case "lstm":
                    h, memory = self._lstm(driven[:, t] + self.recurrent(h), memory)
            states.append(h)
        return torch.stack(states, dim=1)

    def _gru(self, driven: Tensor, h: Tensor) -> Tensor:
        reset, update, new = driven.chunk(3, dim=1)
        from_reset, from_update, from_new = self.recurrent(h).chunk(3, dim=1)
        z = torch.sigmoid(update + from_update)
        return self.state(new + torch.sigmoid(reset + from_reset) * from_new, 1 - z, z * h)

    def _lstm(self, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        enter, forget, new, leave = gates.chunk(4, dim=1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(new)
        return self.state(memory, torch.sigmoid(leave)), memory


class LastStep(nn.Module):
    """(N, time, units) → (N, units) at the last time step."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]
