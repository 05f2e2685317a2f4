"""What a regime hands back: the network as it starts training, and what it does to the learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from clntk.errors import DataError


@dataclass(frozen=True)
class Regime:
    """A network conditioned for training.

    Args:
        model: the network, initialised and wrapped as the regime wants it.
        lr_scale: the factor on the protocol's learning rate.
        optimizer: the only optimizer that its scales are right for; null if they are for any.
    """

    model: nn.Module
    lr_scale: float = 1.0
    optimizer: Literal["sgd", "adam"] | None = None


def weight_layers(model: nn.Module) -> list[nn.Module]:
    """The modules that hold a weight matrix, in the order of the forward pass as registered (read-out last)."""
    return [m for m in model.modules() if (w := getattr(m, "weight", None)) is not None and w.ndim >= 2]


def readout_of(model: nn.Module, regime: str) -> nn.Module:
    """The last module that holds a weight matrix.

    Raises:
        DataError: if there is none.
    """
    layers = weight_layers(model)
    if not layers:
        raise DataError(f"{regime}: expected a network with layers that hold a weight matrix, found none")
    return layers[-1]


def one_each(option: str, values: list, layers: Sequence[nn.Module]) -> None:
    """
    Raises:
        DataError: if there are not as many values as layers.
    """
    if len(values) != len(layers):
        raise DataError(f"{option}: expected {len(layers)} entries, one a layer, found {len(values)}")
