"""The network as its factory made it."""

from torch import nn

from clntk.regimes.base import Regime
from clntk.registry import register
from clntk.shape import TaskShape


@register("regime")
def standard(model: nn.Module, shape: TaskShape) -> Regime:
    """Standard parametrisation: nothing is changed in initialisation, forward pass or learning rate.

    Args:
        model: the network, freshly initialised.
        shape: the task shape (not used).
    """
    del shape
    return Regime(model)
