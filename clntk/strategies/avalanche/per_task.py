"""A network that depends on the task, as Avalanche's strategies and plugins call it."""

from contextlib import nullcontext

import torch
from avalanche.models import MultiTaskModule, avalanche_forward
from torch import Tensor, nn

from clntk.strategies.switch import TaskSwitch
from clntk.strategies.training import OUTSIDE


class PerTask(MultiTaskModule):
    """A network with the gates of each example's task open, and the outputs outside the task's head shut.

    Only training and judging go through it: facts of a checkpoint are the network's own, all outputs of all heads.

    Args:
        network: the network, whose own names and weights stay as they are.
        heads: tasks × outputs, which outputs a task has; None for all.
        switch: tells the network its task, if it has gates.
    """

    def __init__(self, network: nn.Module, heads: Tensor | None, switch: TaskSwitch | None) -> None:
        super().__init__()
        self.network, self.switch = network, switch
        self.register_buffer("heads", heads, persistent=False)

    def adaptation(self, experience: object) -> None:
        """Nothing grows: all outputs are there from the start."""

    def forward(self, x: Tensor, task_labels: Tensor | int | None = None) -> Tensor | dict[int, Tensor]:
        """Logits (examples × outputs) for the task of each example, or for one task; for None, those of all tasks."""
        if task_labels is None:
            return self.forward_all_tasks(x)
        tasks = torch.as_tensor(task_labels, device=x.device).expand(len(x))
        with self.switch.open(tasks) if self.switch is not None else nullcontext():
            f = self.network(x)
        return f if self.heads is None else f.masked_fill(~self.heads[tasks], OUTSIDE)

    def forward_all_tasks(self, x: Tensor) -> dict[int, Tensor]:
        """Task → logits as its head gives them, for a network with heads and without gates."""
        f = self.network(x)
        return {t: f.masked_fill(~head, OUTSIDE) for t, head in enumerate(self.heads)}


def logits(model: nn.Module, x: Tensor, tasks: Tensor) -> Tensor:
    """What a strategy's model answers for examples of these tasks: (examples × outputs)."""
    return avalanche_forward(model, x, tasks)


def bare(model: nn.Module, x: Tensor, tasks: Tensor) -> tuple[nn.Module, Tensor]:
    """The network itself and its inputs, tasks riding along where it has gates: what can be differentiated example by
    example. Its outputs are those of all heads."""
    if not isinstance(model, PerTask):
        return model, x
    return model.network, x if model.switch is None else model.switch.with_task(x, tasks)
