"""Only the read-out learns."""

from torch import Tensor, nn

from clntk.models.frozen import freeze_below
from clntk.regimes.base import Regime, readout_of
from clntk.registry import register
from clntk.shape import TaskShape


class FrozenFeatures(nn.Module):
    """A network of which only the read-out is trained; everything else stays in eval mode, so that features are fixed
    and statistics of batch normalisation do not drift."""

    def __init__(self, network: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.readout_path = next(name for name, m in network.named_modules() if m is readout)
        freeze_below(network, readout)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def train(self, mode: bool = True) -> "FrozenFeatures":
        """Set the mode of the read-out; the rest always stays in eval mode."""
        super().train(mode)
        self.network.eval()
        self.network.get_submodule(self.readout_path).train(mode)
        return self


@register("regime")
def frozen_features(model: nn.Module, shape: TaskShape) -> Regime:
    """All layers frozen as initialised but the read-out: a linear model of the network's random features.

    Initialisation, forward pass and learning rate: unchanged. All parameters but those of the last layer that holds a
    weight matrix require no gradient; they keep their names, and are stored and counted as before.

    Args:
        model: the network, freshly initialised.
        shape: the task shape (not used).

    Raises:
        DataError: if no layer holds a weight matrix.

    Source: Rahimi & Recht 2008, "Weighted sums of random kitchen sinks".
    """
    del shape
    return Regime(FrozenFeatures(model, readout_of(model, "frozen_features")))
