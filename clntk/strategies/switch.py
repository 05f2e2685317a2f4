"""Which task a network is working on, for networks whose units or weights depend on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clntk.errors import DataError


class TaskSwitch:
    """The tasks of the batch that a network is about to see, told in one of two ways.

    In training and evaluation, :meth:`open` says them beside the inputs. Where only inputs can be handed over — a probe
    of a checkpoint, a kernel that cuts its inputs to pieces — they ride along as one more column of the flattened
    inputs (:meth:`with_task`), so that every example is seen with the gate of its own task. Facts of a checkpoint are
    taken this way: outputs and hidden units of a task's probes are those under its own gate, and the kernel block
    K_st[n, m] = Σ_c ⟨∂f_c(x_n; θ, g_s)/∂θ, ∂f_c(x_m; θ, g_t)/∂θ⟩ is what a step on task t under its gate does to the
    outputs on task s under that task's gate.

    Args:
        network: the network; its inputs are read before each forward pass.
        shape: the shape of one plain input.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.tasks: Tensor | None = None
        self._riding: Tensor | None = None
        network.register_forward_pre_hook(self._read)

    @property
    def only(self) -> int | None:
        """The task of the whole batch under way, if it was told beside the inputs and is one."""
        if self._riding is not None or self.tasks is None or not bool((self.tasks == self.tasks[0]).all()):
            return None
        return int(self.tasks[0])

    @contextmanager
    def open(self, tasks: Tensor) -> Iterator[None]:
        """The tasks of the examples inside, one each."""
        before, self.tasks = self.tasks, tasks
        try:
            yield
        finally:
            self.tasks = before

    @property
    def current(self) -> Tensor:
        """The task of each example of the batch under way: (examples).

        Raises:
            DataError: if nobody said.
        """
        tasks = self.tasks if self._riding is None else self._riding
        if tasks is None:
            raise DataError(
                "network: expected to be told the task of every example, since its gates depend on it, found inputs "
                "alone; use learner.evaluate(split, task), or inputs of learner.with_tasks(...)"
            )
        return tasks

    def with_task(self, x: Tensor, task: int | Tensor) -> Tensor:
        """Inputs with their task as one more column: (examples, features + 1)."""
        column = torch.as_tensor(task, dtype=x.dtype, device=x.device).expand(len(x))
        return torch.cat([x.flatten(1), column[:, None]], dim=1)

    def _read(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        x, *others = arguments
        self._riding = None
        if x.shape[1:] == self.shape:
            return None
        self._riding = x[:, -1].round().long()
        return x[:, :-1].reshape(len(x), *self.shape), *others
