"""A frozen network whose read-out is consolidated class by class."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import Unmet, class_labels, no_frozen_copy, requires
from clntk.strategies.training import Training


def linear_readout(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """The rows of the last linear layer are the classes."""
    name = readout_of(setup.model)
    if name is not None and setup.model.get_submodule(name).out_features == setup.stream.outputs:
        return None
    found = name or "no linear layer"
    return Unmet(
        "a trained linear read-out, one row a class, as the last linear layer", found, "use an mlp or a cnn"
    )


def readout_of(network: nn.Module) -> str | None:
    """The path of the last linear layer that is trained."""
    trained = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and any(p is module.weight for p in module.parameters())
    ]
    return trained[-1] if trained else None


@register("strategy")
@requires(class_labels, linear_readout, no_frozen_copy)
def cwr_star(
    setup: Setup, training: Training, *, readout_bias: Literal["none", "trained"] = "none"
) -> Learner:
    """CWR*: after the first phase only the read-out is trained, from zero, and its rows are consolidated.

    The row of a class that was trained before is the average of old and new, weighted by √(examples seen); each phase's
    rows are first shifted to a mean of 0. Through Avalanche's ``CWRStarPlugin``; the other layers keep their gradients
    out of the optimizer instead of giving up ``requires_grad``, so that kernels go on to count all weights.

    Args:
        setup: what to train.
        training: shared options.
        readout_bias: ``none`` holds the read-out's biases at 0, as the authors' code does not train them either;
            ``trained`` goes on training them, those of classes whose rows are put back among them, as Avalanche does
            and bit for bit: logits of old classes then move.

    Source: Lomonaco et al. 2020, arXiv 1907.03799, algorithm 1.
    """
    from clntk.strategies.avalanche.consolidate import consolidated_readout

    readout = readout_of(setup.model)
    assert readout is not None  # it is required
    plugin = consolidated_readout(setup.model, readout, biased=readout_bias == "trained")
    return build_learner(setup, training, plugin)
