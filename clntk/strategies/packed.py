"""Layers whose weights belong to tasks."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clntk.strategies.learner import disjoint_heads
from clntk.strategies.switch import TaskSwitch
from clntk.streams.base import TaskStream


@dataclass(frozen=True)
class Packed:
    """A network whose layers were packed.

    Args:
        layers: those whose weights are shared out.
        readout: the read-out, if its rows are the tasks' own.
        switch: tells the network its task.
    """

    layers: tuple["_Packed", ...]
    readout: nn.Module | None
    switch: TaskSwitch


class _Packed(nn.Module):
    """A layer that sees, for each example, the weights of the ranks up to that of its task.

    Buffers: ``owner``, the rank that each weight belongs to, and ``rank``, that of each task: 0 for the first that was
    finished, and so on. Weights that are free, and tasks that are not finished, have the number of tasks. The layer's
    class is changed, not wrapped, so that its parameters keep their names.
    """

    weight: Tensor
    bias: Tensor | None
    owner: Tensor
    rank: Tensor
    switch: TaskSwitch

    def pack(self, tasks: int, switch: TaskSwitch) -> None:
        """All weights are free."""
        self.switch = switch
        self.register_buffer("owner", torch.full_like(self.weight, tasks, dtype=torch.int16))
        self.register_buffer(
            "rank", torch.full((tasks,), tasks, dtype=torch.int16, device=self.weight.device)
        )

    def forward(self, x: Tensor) -> Tensor:
        only = self.switch.only
        if only is not None:
            return self._seen_by(only, x)
        tasks = self.switch.current.view(-1, *[1] * (x.ndim - 1))
        out = self._seen_by(0, x)
        for task in range(1, len(self.rank)):
            out = torch.where(tasks == task, self._seen_by(task, x), out)
        return out

    def _seen_by(self, task: int, x: Tensor) -> Tensor:
        weight = self.weight * (self.owner <= self.rank[task])
        if isinstance(self, nn.Linear):
            return functional.linear(x, weight, self.bias)
        return cast("nn.Conv1d | nn.Conv2d", self)._conv_forward(x, weight, self.bias)


class PackedLinear(_Packed, nn.Linear):  # type: ignore[misc]  # torch's stub: as if it always had a bias
    """A linear layer that was packed."""


class PackedConv1d(_Packed, nn.Conv1d):
    """A convolution of sequences that was packed."""


class PackedConv2d(_Packed, nn.Conv2d):
    """A convolution of images that was packed."""


_KINDS = {nn.Linear: PackedLinear, nn.Conv1d: PackedConv1d, nn.Conv2d: PackedConv2d}


def pack(network: nn.Module, stream: TaskStream) -> Packed:
    """Turn all linear layers and convolutions of a network into packed ones, in place.

    Where each task has a head of its own, the read-out stays as it is.
    """
    plain = [m for m in network.modules() if type(m) in _KINDS and cast(Tensor, m.weight).requires_grad]
    readout = plain.pop() if disjoint_heads(stream) else None
    switch = TaskSwitch(network, stream.shape.inputs)
    layers = []
    for layer in plain:
        layer.__class__ = _KINDS[type(layer)]
        layers.append(cast(_Packed, layer))
        layers[-1].pack(len(stream.tasks), switch)
    return Packed(tuple(layers), readout, switch)
