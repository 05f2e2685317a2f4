"""Rich or lazy by the scale of the output."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from clntk.models.frozen import frozen_copy
from clntk.regimes.base import Regime
from clntk.registry import register
from clntk.shape import TaskShape


class ScaledOutput(nn.Module):
    """f(x) = α g(x; θ)."""

    def __init__(self, network: nn.Module, alpha: float) -> None:
        super().__init__()
        self.network = network
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * self.network(x)


class CentredOutput(nn.Module):
    """f(x) = α (g(x; θ) − g(x; θ₀)): zero at initialisation, and α times as steep in the weights as g.

    θ₀ is kept as buffers, so that it is stored with the weights but never trained or counted among them.
    """

    def __init__(self, network: nn.Module, alpha: float) -> None:
        super().__init__()
        self.network = network
        self.initial = frozen_copy(network)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * (self.network(x) - self.initial(x))

    def train(self, mode: bool = True) -> "CentredOutput":
        """Set the mode; the copy at initialisation always stays in eval mode."""
        super().train(mode)
        self.initial.eval()
        return self


@register("regime")
def output_scale(model: nn.Module, shape: TaskShape, *, alpha: Annotated[float, Field(gt=0)] = 1.0) -> Regime:
    """Output scaled by α and centred at initialisation, learning rate divided by α²: lazier as α grows.

    α = 1 is the network's own regime, centred. The same loss is then reached by weights that move 1/α as far.

    Args:
        model: the network g, freshly initialised.
        shape: the task shape (not used).
        alpha: the output scale α > 0.

    Source: Chizat et al. 2019, arXiv 1812.07956, eq. (1): F_α(w) = R(α h(w))/α².
    """
    del shape
    return Regime(CentredOutput(model, alpha), lr_scale=1 / alpha**2)
