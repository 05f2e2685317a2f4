"""CWR*, with layers that are frozen for the optimizer alone, and a read-out without biases."""

from typing import Any, cast

import torch
from avalanche.training.plugins import CWRStarPlugin
from torch import nn

from clntk.strategies.avalanche.remember import remembering


class ConsolidatedReadout(CWRStarPlugin):
    """Avalanche's CWR* on a named read-out.

    Args:
        network: the network.
        readout: the path of its read-out.
        biased: whether its biases are trained; else they are held at 0.
    """

    def __init__(self, network: nn.Module, readout: str, *, biased: bool) -> None:
        super().__init__(network)
        self.readout = cast(nn.Linear, network.get_submodule(readout))
        self._unused = [] if biased or self.readout.bias is None else [self.readout.bias]

    def get_cwr_layer(self) -> nn.Module:
        """The read-out, which Avalanche would look for among frozen copies, too."""
        return self.readout

    def freeze_other_layers(self) -> None:
        """Nothing is learned from batches any more, either."""
        self.model.eval()
        self.readout.train()

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        with torch.no_grad():
            for p in self._unused:
                p.zero_()

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        own = {id(p) for p in self.readout.parameters()}
        frozen = [p for p in self.model.parameters() if id(p) not in own]
        for p in (*self._unused, *(frozen if strategy.clock.train_exp_counter > 0 else ())):
            p.grad = None


def consolidated_readout(network: nn.Module, readout: str, *, biased: bool) -> CWRStarPlugin:
    """The plugin, whose saved rows and counts can be saved and restored."""
    kept = ("model.saved_weights", "model.past_j")
    return remembering(ConsolidatedReadout, *kept)(network, readout, biased=biased)
