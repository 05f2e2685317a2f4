"""Networks, or parts of them, that training leaves alone."""

import copy

from torch import nn


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters have become buffers: stored with the weights, never trained or counted."""
    frozen = copy.deepcopy(network).eval()
    for module in frozen.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach().clone())
    return frozen


def freeze_below(network: nn.Module, readout: nn.Module) -> None:
    """Let no parameter but the read-out's require a gradient, which is what keeps Avalanche from training them."""
    network.requires_grad_(False)
    readout.requires_grad_(True)
