"""One look at a network: its probe sets passed through it once, without leaving a trace."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from clntk.errors import DataError

_NONLINEAR = tuple(
    kind
    for kind in vars(nn.modules.activation).values()
    if isinstance(kind, type)
    and issubclass(kind, nn.Module)
    and kind.__module__ == nn.modules.activation.__name__  # not what it imports
    and kind not in (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
)

Kept = TypeVar("Kept")
_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}  # the buffers of a normalisation


@dataclass(frozen=True)
class Look:
    """A network in eval mode and the inputs to see it through.

    Args:
        model: the network.
        inputs: task name → probe inputs, all of one shape (probes × features…).
        layers: label → path of the module whose output is a hidden layer.
    """

    model: nn.Module
    inputs: Mapping[str, Tensor]
    layers: Mapping[str, str]

    @property
    def tasks(self) -> list[str]:
        return list(self.inputs)

    @property
    def n_probes(self) -> int:
        return len(next(iter(self.inputs.values())))

    @cached_property
    def stacked(self) -> Tensor:
        """All probes of all tasks: (tasks · probes, features…)."""
        return torch.cat(list(self.inputs.values()))

    def by_task(self, values: Tensor) -> Tensor:
        """(tasks · probes, …) → (tasks, probes, …)."""
        return values.reshape(len(self.tasks), self.n_probes, *values.shape[1:])

    @cached_property
    def forward(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs, and the flattened output of each hidden layer, for all probes at once."""
        with torch.no_grad():
            outputs, seen = watched(
                self.model, self.layers, self.stacked, lambda output: output.detach().flatten(1).clone()
            )
        activations = {}
        for label, calls in seen.items():
            for k, value in enumerate(calls, start=1):  # a module called several times is several layers
                activations[label if len(calls) == 1 else f"{label}#{k}"] = value
        return outputs, activations


def watched(
    network: nn.Module, layers: Mapping[str, str], x: Tensor, keep: Callable[[Tensor], Kept]
) -> tuple[Tensor, dict[str, list[Kept]]]:
    """The network's outputs, and what is kept of each layer's outputs, a list of one entry a call.

    Args:
        network: left without hooks.
        layers: label → path of a module.
        x: inputs.
        keep: of one output of a module.
    """
    seen: dict[str, list[Kept]] = {label: [] for label in layers}
    handles = [
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, label=label: seen[label].append(keep(output))
        )
        for label, path in layers.items()
    ]
    try:
        return network(x), seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; afterwards modes, gradients and random generators are as before."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient


def hidden_layers(model: nn.Module) -> dict[str, str]:
    """Label → module path of the hidden layers: the nonlinearities, or else the parameterised leaves but the last.

    A label is the last part of the parent's path where that is unique (``hidden1`` for ``network.hidden1.activation``).
    Frozen copies (modules with buffers other than running statistics, and no parameters) hold none.
    """
    frozen = _frozen(model)
    leaves = [
        (name, m)
        for name, m in model.named_modules()
        if not any(True for _ in m.children())
        and not any(name == f or name.startswith(f"{f}.") for f in frozen)
    ]
    paths = [name for name, m in leaves if isinstance(m, _NONLINEAR)]
    if not paths:
        paths = [name for name, m in leaves if any(True for _ in m.parameters())][:-1]
    short = {path: path.rpartition(".")[0].rpartition(".")[2] or path for path in paths}
    unique = len(set(short.values())) == len(paths)
    return {(short[path] if unique else path): path for path in paths}


def frozen_copies(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules that stand, in frozen copies of a part of the network, where ``path`` stands in that part.

    ``initial.hidden1.activation`` for ``network.hidden1.activation``, where a regime keeps the network at
    initialisation beside the trained one: what changes the one has to change the other.
    """
    frozen = _frozen(model)
    roots = [name for name in frozen if not any(name.startswith(f"{other}.") for other in frozen)]

    def inside(root: str) -> list[str]:
        return [name.removeprefix(root) for name, _ in model.named_modules() if name.startswith(f"{root}.")]

    found = []
    for root in roots:
        parts = path.split(".")
        depth = root.count(".") + 1
        part = ".".join(parts[:depth])
        if part != root and len(parts) > depth and inside(part) == inside(root):
            found.append(model.get_submodule(".".join([root, *parts[depth:]])))
    return found


def _frozen(model: nn.Module) -> list[str]:
    """Paths of the modules with buffers other than running statistics, and no parameters."""
    return [
        name
        for name, m in model.named_modules()
        if name
        and not any(True for _ in m.parameters())
        and any(buffer.rpartition(".")[2] not in _STATISTICS for buffer, _ in m.named_buffers())
    ]


def check_layers(model: nn.Module, layers: Mapping[str, str]) -> None:
    """
    Raises:
        DataError: for a path that the model does not have.
    """
    known = [name for name, _ in model.named_modules() if name]
    for path in layers.values():
        if path not in known:
            raise DataError(
                f"capture: expected the path of a module, found {path!r}; the model has {', '.join(known)}"
            )
