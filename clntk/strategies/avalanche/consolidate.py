"""CWR*, with layers that are frozen for the optimizer alone."""

from typing import Any

from avalanche.training.plugins import CWRStarPlugin
from torch import nn

from clntk.strategies.avalanche.remember import remembering


class ConsolidatedReadout(CWRStarPlugin):
    """Avalanche's CWR* on a named read-out.

    Args:
        network: the network.
        readout: the path of its read-out.
    """

    def __init__(self, network: nn.Module, readout: str) -> None:
        super().__init__(network)
        self.readout = network.get_submodule(readout)

    def get_cwr_layer(self) -> nn.Module:
        """The read-out, which Avalanche would look for among frozen copies, too."""
        return self.readout

    def freeze_other_layers(self) -> None:
        """Nothing is learned from batches any more, either."""
        self.model.eval()
        self.readout.train()

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter > 0:
            own = {id(p) for p in self.readout.parameters()}
            for p in self.model.parameters():
                if id(p) not in own:
                    p.grad = None


def consolidated_readout(network: nn.Module, readout: str) -> CWRStarPlugin:
    """The plugin, whose saved rows and counts can be saved and restored."""
    kept = ("model.saved_weights", "model.past_j")
    return remembering(ConsolidatedReadout, *kept)(network, readout)
