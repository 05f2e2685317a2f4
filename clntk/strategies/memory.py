"""A memory of past examples in plain tensors."""

from typing import Any

import torch
from torch import Tensor

Columns = dict[str, Tensor]


class Memory:
    """Examples of past phases, in equal shares, and whatever is stored with them.

    All draws come from the global generator, whose state is saved with a run's boundaries.

    Args:
        size: examples kept in all.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.groups: list[Columns] = []  # one a phase

    def __len__(self) -> int:
        return sum(len(next(iter(group.values()))) for group in self.groups)

    def add(self, examples: Columns) -> None:
        """Take in a phase's examples: a random subset as large as each past phase's share, which shrinks for it."""
        n = len(next(iter(examples.values())))
        order = torch.randperm(n)
        self.groups.append({name: column.cpu()[order] for name, column in examples.items()})
        share, left = divmod(self.size, len(self.groups))
        for k, group in enumerate(self.groups):  # in random order already: the first ones are as good as any
            kept = share + (k < left)
            self.groups[k] = {name: column[:kept] for name, column in group.items()}

    def draw(self, n: int) -> Columns:
        """``n`` different examples at random, or all where there are fewer."""
        every = {name: torch.cat([group[name] for group in self.groups]) for name in self.groups[0]}
        chosen = torch.randperm(len(self))[:n]
        return {name: column[chosen] for name, column in every.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"groups": self.groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.groups = [dict(group) for group in state["groups"]]
