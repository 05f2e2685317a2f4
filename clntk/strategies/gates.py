"""Gates on hidden units, a different set for each task."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clntk.capture.look import frozen_copies, hidden_layers, undisturbed, watched
from clntk.strategies.switch import TaskSwitch


@dataclass(frozen=True)
class _Gate:
    """The hook that multiplies a layer's output by the gate of each example's task.

    The gates are a buffer of the network, so that they are stored with its weights and move with it; an object rather
    than a closure, so that a copy of the network reads its own.
    """

    network: nn.Module
    switch: TaskSwitch
    buffer: str

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * getattr(self.network, self.buffer)[self.switch.current]


def gated_layers(network: nn.Module, x: Tensor) -> dict[str, int]:
    """Label → number of units, for the hidden layers that give one vector an example.

    Feature maps and sequences are left out, as in Masse et al. 2018, whose convolutional layers are not gated.

    Args:
        network: the network.
        x: a few inputs.
    """
    with undisturbed(network), torch.no_grad():
        _, seen = watched(network, hidden_layers(network), x, lambda output: tuple(output.shape))
    shapes = {label: calls[-1] for label, calls in seen.items() if calls}
    return {label: shape[1] for label, shape in shapes.items() if len(shape) == 2}


def put_gates(network: nn.Module, gates: Mapping[str, Tensor], shape: tuple[int, ...]) -> TaskSwitch:
    """Gate the hidden layers of a network, and of its frozen copies, from now on.

    Args:
        network: the network, changed in place: buffers ``gates_<layer>``, no new parameters or names.
        gates: hidden layer → factors of its units, tasks × units.
        shape: the shape of one input.

    Returns:
        What tells the network its task.
    """
    switch = TaskSwitch(network, shape)
    paths = hidden_layers(network)
    for label, factors in gates.items():
        buffer = f"gates_{label.replace('.', '_')}"
        network.register_buffer(buffer, factors.to(next(network.parameters()).device))
        for module in (network.get_submodule(paths[label]), *frozen_copies(network, paths[label])):
            module.register_forward_hook(_Gate(network, switch, buffer))
    return switch
