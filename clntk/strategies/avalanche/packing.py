"""PackNet's way through a task: train, prune, train again, fix."""

from typing import Any

import torch
from torch import Tensor, nn

from clntk.strategies.avalanche.steps import EachStep
from clntk.strategies.packed import Packed
from clntk.streams.base import TaskStream


class Packing(EachStep):
    """Shares the weights of packed layers out to tasks, and puts back whatever may not move.

    Args:
        packed: the network's layers.
        stream: whose phases hold one task each.
        prune: share of the free weights that is set free again.
        retrain_epochs: epochs after pruning.
    """

    def __init__(self, packed: Packed, stream: TaskStream, prune: float, retrain_epochs: int) -> None:
        super().__init__()
        self.packed, self.stream, self.prune, self.retrain_epochs = packed, stream, prune, retrain_epochs
        self._epochs = 0
        self._movable: dict[int, Tensor] = {}  # id of a parameter → which of its entries are trained

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        self._epochs = strategy.train_epochs
        strategy.train_epochs += self.retrain_epochs

    def after_training(self, strategy: Any, **kwargs: Any) -> None:
        strategy.train_epochs = self._epochs

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        rank = strategy.clock.train_exp_counter
        self._movable = {}
        for layer in self.packed.layers:
            self._movable[id(layer.weight)] = layer.owner == len(self.stream.tasks)
            if layer.bias is not None:
                self._movable[id(layer.bias)] = torch.full_like(layer.bias, rank == 0, dtype=torch.bool)
        if self.packed.readout is not None:
            assert self.stream.heads is not None  # a read-out is left as it is where there are heads
            (task,) = self.stream.phases[rank].tasks
            own = torch.zeros(self.stream.outputs, dtype=torch.bool)
            own[list(self.stream.heads[task])] = True
            for p in self.packed.readout.parameters():
                self._movable[id(p)] = own.to(p.device).view(-1, *[1] * (p.ndim - 1)).expand_as(p)

    @torch.no_grad()
    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_epochs != self._epochs:
            return
        for layer in self.packed.layers:
            free = layer.owner == len(self.stream.tasks)
            kept = free & ~smallest(layer.weight, free, self.prune)
            layer.weight[free & ~kept] = 0
            layer.owner[kept] = strategy.clock.train_exp_counter
            self._movable[id(layer.weight)] = kept

    def stepped(self, parameters: list[nn.Parameter], start: list[Tensor]) -> None:
        for p, before in zip(parameters, start, strict=True):
            p.copy_(torch.where(self._movable[id(p)], p, before))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        rank = strategy.clock.train_exp_counter
        (task,) = self.stream.phases[rank].tasks
        for layer in self.packed.layers:
            layer.rank[task] = rank


def smallest(weight: Tensor, among: Tensor, share: float) -> Tensor:
    """Which of some entries are the smallest in absolute value: as many as the share says, rounded down."""
    sizes = torch.where(among, weight.abs(), torch.inf).flatten()
    chosen = torch.zeros_like(sizes, dtype=torch.bool)
    chosen[sizes.argsort()[: int(share * int(among.sum()))]] = True
    return chosen.view_as(weight)
