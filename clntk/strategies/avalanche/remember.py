"""What Avalanche's plugins remember, as plain values and tensors and back.

A boundary on disk may hold nothing that could execute, so no plugin is pickled: the attributes that outlive a phase are
named once, and written out by their kind.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.core import SupervisedPlugin
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.utils import ParamData
from torch import Tensor

from clntk.strategies.avalanche.loader import dataset_tensors
from clntk.streams.avalanche.benchmark import avalanche_dataset
from clntk.streams.base import Split


def remembering(plugin: type[SupervisedPlugin], *attributes: str) -> type[SupervisedPlugin]:
    """A subclass of an Avalanche plugin whose named attributes can be saved and restored.

    Args:
        plugin: the class.
        attributes: dotted names of what it keeps from one phase to the next: tensors and arrays, plain values,
            Avalanche's parameter data, reservoirs and data sets, and dictionaries, lists and sets of them. A dictionary
            keeps its own type (a default dictionary, say) and identity.
    """

    class Remembering(plugin):
        def state_dict(self) -> dict[str, Any]:
            return {name: written(attrgetter(name)(self)) for name in attributes}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            for name in attributes:
                value = read(state[name])
                *path, last = name.split(".")
                owner = attrgetter(".".join(path))(self) if path else self
                kept = getattr(owner, last)
                if isinstance(kept, dict) and isinstance(value, dict):
                    kept.clear()
                    kept.update(value)
                else:
                    setattr(owner, last, value)

    Remembering.__name__ = Remembering.__qualname__ = plugin.__name__
    return Remembering


def written(value: Any) -> Any:
    """A value as plain values and tensors.

    Raises:
        TypeError: for a kind that is not known.
    """
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    for name, (kind, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return [name, write(value)]
    raise TypeError(f"cannot be written to a boundary: {type(value).__name__}")


def read(value: Any) -> Any:
    """What :func:`written` wrote."""
    if not isinstance(value, list):
        return value
    name, content = value
    return _KINDS[name][2](content)


def _reservoir(content: list[Any]) -> ReservoirSamplingBuffer:
    size, weights, data = content
    buffer = ReservoirSamplingBuffer(size)
    buffer._buffer_weights, buffer.buffer = weights, read(data)
    return buffer


# name → kind, how it is written, how it is read
_KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "dict": (
        dict,
        lambda v: [[key, written(item)] for key, item in v.items()],
        lambda c: {key: read(item) for key, item in c},
    ),
    "list": (list, lambda v: [written(item) for item in v], lambda c: [read(item) for item in c]),
    "set": (set, sorted, set),
    "array": (np.ndarray, torch.from_numpy, Tensor.numpy),
    "parameter": (
        ParamData,
        lambda v: [v.name, v.data],
        lambda c: ParamData(c[0], init_tensor=c[1], device=c[1].device),
    ),
    "reservoir": (
        ReservoirSamplingBuffer,
        lambda v: [v.max_size, v._buffer_weights, written(v.buffer)],
        _reservoir,
    ),
    "dataset": (
        AvalancheDataset,
        lambda v: list(dataset_tensors(v)),
        lambda c: avalanche_dataset(Split(c[0], c[1]), c[2]),
    ),
}
