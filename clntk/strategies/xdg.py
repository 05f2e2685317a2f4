"""Context-dependent gating of hidden units."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field

from clntk.registry import register
from clntk.seeding import Purpose
from clntk.strategies.gates import gated_layers, put_gates
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import Unmet, requires
from clntk.strategies.training import Training


def hidden_vectors(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """There have to be units to gate."""
    if gated_layers(setup.model, _a_few(setup)):
        return None
    return Unmet("a hidden layer that gives one vector an example", "none", "use an mlp, or a cnn with one")


@register("strategy")
@requires(hidden_vectors)
def xdg(
    setup: Setup,
    training: Training,
    *,
    gated: Annotated[float, Field(ge=0, lt=1)] = 0.8,
    xdg_c: Annotated[float, Field(ge=0)] = 0.0,
) -> Learner:
    """Context-dependent gating: for each task a fixed random share of the hidden units is silent.

    The task of every example is known, in tests too. In each hidden layer, for each task, a random set of
    round(gated × units) units, never all, is multiplied by 0 (the authors' code draws unit by unit). Feature maps of
    convolutions are not gated. Facts of a task's probes are those under its own gate; the kernel block K_st says how a
    step on task t under gate t moves the outputs on task s under gate s.

    Args:
        setup: what to train.
        training: shared options.
        gated: share of the units that is silent.
        xdg_c: strength of synaptic intelligence beside the gates, as ``si_c`` (the paper combines both), with a damping
            ξ of 0.1; 0 is gating alone.

    Source: Masse et al. 2018, arXiv 1802.01569.
    """
    from clntk.strategies.avalanche.path_integral import PathIntegral

    generator = setup.seeds.torch(Purpose.GATES)
    gates = {
        label: _random_gates(len(setup.stream.tasks), units, gated, generator)
        for label, units in gated_layers(setup.model, _a_few(setup)).items()
    }
    switch = put_gates(setup.model, gates, setup.stream.shape.inputs)
    beside = [PathIntegral(xdg_c, xi=0.1)] if xdg_c > 0 else []
    return build_learner(setup, training, *beside, switch=switch)


def _a_few(setup: Setup) -> torch.Tensor:
    return setup.stream.tasks[0].train.x[:2].to(next(setup.model.parameters()).device)


def _random_gates(tasks: int, units: int, gated: float, generator: torch.Generator) -> torch.Tensor:
    """Ones and zeros, tasks × units."""
    silent = min(round(gated * units), units - 1)
    gates = torch.ones(tasks, units)
    for row in gates:
        row[torch.randperm(units, generator=generator)[:silent]] = 0
    return gates
