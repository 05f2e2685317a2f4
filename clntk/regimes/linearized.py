"""The exact lazy control."""

from torch import nn

from clntk.models.linearize import linearize
from clntk.regimes.base import Regime
from clntk.registry import register
from clntk.shape import TaskShape


@register("regime")
def linearized(model: nn.Module, shape: TaskShape) -> Regime:
    """Training of the first-order expansion around initialisation: exactly lazy, the tangent kernel never moves.

    Initialisation and learning rate: unchanged. Forward pass: f(x; θ₀) + ∇f(x; θ₀)(θ − θ₀), in place of f(x; θ), always
    in eval mode. The captured hidden units are the network's at θ₀ and never change; the weights θ do.

    Args:
        model: the network, freshly initialised.
        shape: the task shape (not used).

    Source: Lee et al. 2019, arXiv 1902.06720, eq. (3); Chizat et al. 2019, arXiv 1812.07956.
    """
    del shape
    return Regime(linearize(model))
