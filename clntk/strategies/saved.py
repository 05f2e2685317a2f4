"""Where a plugin's tensors lay: boundaries are read on the CPU, whatever wrote them."""

from typing import Any

from torch import Tensor

_TENSOR, _DEVICE = "a tensor", "on"


def with_devices(value: Any) -> Any:
    """Nested dictionaries and lists with each tensor's device beside it."""
    if isinstance(value, Tensor):
        return {_TENSOR: value, _DEVICE: str(value.device)}
    if isinstance(value, dict):
        return {key: with_devices(item) for key, item in value.items()}
    return [with_devices(item) for item in value] if isinstance(value, list | tuple) else value


def on_devices(value: Any) -> Any:
    """What :func:`with_devices` wrote, every tensor where it was."""
    if isinstance(value, dict):
        if _TENSOR in value:
            return value[_TENSOR].to(value[_DEVICE])
        return {key: on_devices(item) for key, item in value.items()}
    return [on_devices(item) for item in value] if isinstance(value, list) else value
