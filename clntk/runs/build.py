"""From a run spec to a stream and a network ready to train."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from clntk import registry
from clntk.errors import DataError
from clntk.protocol.spec import RunSpec, options_of
from clntk.regimes.base import Regime
from clntk.runs.torch_state import steady_torch
from clntk.seeding import Purpose, Seeds
from clntk.shape import TaskShape
from clntk.strategies.training import Training
from clntk.streams.base import TaskStream


@dataclass(frozen=True)
class Built:
    """A stream, and a network as its regime starts it."""

    stream: TaskStream
    regime: Regime


@steady_torch()
def build(spec: RunSpec) -> Built:
    """Build what a spec describes; the same spec always gives the same bits.

    Raises:
        DataError: if the options do not fit the data or the network.
    """
    seeds = Seeds(spec.seed)
    stream = component("stream", spec.stream, seeds)
    regime = untrained(spec, stream.shape)
    _check_optimizer(spec, regime)
    regime.model.to(spec.device)
    return Built(stream, regime)


def untrained(spec: RunSpec, shape: TaskShape) -> Regime:
    """The network at initialisation, and what its regime does to the learning rate; no generator is touched."""
    with steady_torch(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(Seeds(spec.seed).integer(Purpose.INIT))
        return component("regime", spec.regime_options, component("model", spec.model, shape), shape)


def training_of(spec: RunSpec) -> Training:
    """The options of a spec's strategy that all strategies share."""
    options: dict[str, Any] = spec.strategy
    return Training(**{f.name: options[f.name] for f in fields(Training) if f.name in options})


def _check_optimizer(spec: RunSpec, regime: Regime) -> None:
    used = spec.strategy.get("optimizer", regime.optimizer)
    if regime.optimizer not in (None, used):
        raise DataError(
            f"strategy.optimizer: expected {regime.optimizer}, for which the regime {spec.regime} sets its learning "
            f"rates, found {used}; change it, or the regime's optimizer if it has that option"
        )


def component(kind: str, options: dict[str, Any], *injected: Any) -> Any:
    """Call the component that ``options`` names with the rest of them."""
    return registry.get(kind, options["name"])(*injected, **options_of(options))
