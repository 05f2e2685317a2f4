"""Least squares, solved: where gradient descent on a read-out would end."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import Unmet, requires
from clntk.strategies.training import Training


def trained_readout(model: nn.Module) -> nn.Linear | None:
    """The linear layer that has all trained parameters of a network, if one has."""
    trained = [m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    return trained[0] if len(trained) == 1 and type(trained[0]) is nn.Linear else None


def _a_readout_alone(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    if trained_readout(setup.model) is not None:
        return None
    found = "a network with other trained parameters"
    advice = "use model random_features, or regime frozen_features"
    return Unmet("a network of which one linear layer, the read-out, is trained", found, advice)


def _squared_errors(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    loss = training.make_loss(setup.stream).name
    if loss in ("squared_error", "sum_squared_error"):
        return None
    return Unmet("squared errors", f"loss {loss}", "set strategy.loss to squared_error")


def _one_head(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    if setup.stream.heads is None:
        return None
    return Unmet("one head for all tasks", "a head for each", "leave stream.head at single")


@register("strategy", solves=True)
@requires(_a_readout_alone, _squared_errors, _one_head)
def least_squares(setup: Setup, training: Training, *, ridge: Annotated[float, Field(ge=0)] = 0.0) -> Learner:
    """The read-out that fits each phase best, with the smallest change of weights: gradient descent's limit.

    One step a phase: W ← W + Φ⁺(Y − f) with features Φ (and ones, for a bias that is trained) and one-hot or real
    targets Y, by singular values in double precision; those below N ε of the largest count as zero. Epochs, minibatches
    and learning rate have no part in it.

    Args:
        setup: what to train.
        training: shared options.
        ridge: ρ of a penalty ½ρ‖ΔW‖² beside the sum of ½ squared errors; 0 is the least change that fits best.

    Source: Belkin et al. 2019, arXiv 1812.11118 (minimum-norm random features); Bartlett et al. 2020, arXiv 1906.11300.
    """
    from clntk.strategies.avalanche.solve import SolveReadout

    readout = trained_readout(setup.model)
    assert readout is not None  # it is required
    return build_learner(setup, replace(training, epochs=1, batch_size=None), SolveReadout(readout, ridge))
