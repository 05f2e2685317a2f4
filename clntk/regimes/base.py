"""What a regime hands back: the network as it starts training, and what it does to the learning rate."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Regime:
    """A network conditioned for training.

    Args:
        model: the network, initialised and wrapped as the regime wants it.
        lr_scale: the factor on the protocol's learning rate.
    """

    model: nn.Module
    lr_scale: float = 1.0


def weight_layers(model: nn.Module) -> list[nn.Module]:
    """The modules that hold a weight matrix, in the order of the forward pass as registered (read-out last)."""
    return [m for m in model.modules() if getattr(m, "weight", None) is not None and m.weight.ndim >= 2]
