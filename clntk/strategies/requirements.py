"""What a strategy needs of stream, network and options, checked before anything is trained or imported for it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from clntk.capture.look import frozen_copies
from clntk.errors import DataError
from clntk.strategies.learner import Learner, Setup
from clntk.strategies.training import Training


class Unmet(NamedTuple):
    """What a strategy expected, what it found, and what to do."""

    expected: str
    found: str
    advice: str


Requirement = Callable[[Setup, Training, Mapping[str, Any]], Unmet | None]


def requires(*requirements: Requirement) -> Callable[[Callable[..., Learner]], Callable[..., Learner]]:
    """Refuse what the decorated strategy cannot train: when it is called, and when a protocol is checked.

    Args:
        requirements: functions of setup, shared options and own options.
    """

    def decorate(strategy: Callable[..., Learner]) -> Callable[..., Learner]:
        @functools.wraps(strategy)
        def checked(setup: Setup, training: Training, **options: Any) -> Learner:
            check(checked, setup, training, options)
            return strategy(setup, training, **options)

        checked.requirements = requirements  # type: ignore[attr-defined]  # functions can have them
        return checked

    return decorate


def check(
    strategy: Callable[..., Learner], setup: Setup, training: Training, options: Mapping[str, Any]
) -> None:
    """See whether the requirements of a strategy, if it has any, are met.

    Raises:
        DataError: for the first that is not.
    """
    for requirement in getattr(strategy, "requirements", ()):
        unmet = requirement(setup, training, options)
        if unmet is not None:
            raise DataError(
                f"strategy {strategy.__name__}: expected {unmet.expected}, found {unmet.found}; {unmet.advice}"
            )


def class_labels(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """A memory balanced by class, or a read-out consolidated class by class, needs classes."""
    if setup.stream.target == "class":
        return None
    return Unmet("a stream of class labels", "float targets", "choose replay, which needs none")


def cross_entropy(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """Where the strategy's own loss is made of softmax outputs, so must the task's be."""
    loss = training.make_loss(setup.stream).name
    if loss == "cross_entropy":
        return None
    return Unmet(
        "labels trained with cross-entropy", f"loss {loss}", "leave strategy.loss at auto, on labels"
    )


def likelihood(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """A Fisher information under the model's own predictions needs a loss that is a log-likelihood."""
    if training.loss != "reward" or (options["fisher"], options["fisher_labels"]) != ("per_example", "model"):
        return None
    return Unmet("a loss that is a log-likelihood", "loss reward", "use strategy.fisher_labels=data")


def one_task_a_phase(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """Where each task gets a part of the network, tasks have to come one by one and once."""
    tasks = [task for phase in setup.stream.phases for task in phase.tasks]
    if len(tasks) == len(setup.stream.phases) == len(set(tasks)):
        return None
    names = ", ".join(phase.name for phase in setup.stream.phases)
    return Unmet("one phase for each task", f"the phases {names}", "use stream.schedule=blocked")


def context_inputs(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """Gating by context weights needs columns of the input that hold the context."""
    stream = setup.stream
    if "context" in stream.input_groups and len(stream.shape.inputs) == 1:
        return None
    groups = ", ".join(stream.input_groups) or "none"
    found = f"inputs of shape {stream.shape.inputs} with the groups: {groups}"
    return Unmet("flat inputs with a group of columns called context", found, "append a cue with stream.cue")


def linear_layers(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """Where weights are treated as matrices that act on inputs, all trained ones have to be."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    for name, module in setup.model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        padding = getattr(module, "padding_mode", "zeros"), type(getattr(module, "padding", ()))
        plain = getattr(module, "groups", 1) == 1 and padding == ("zeros", tuple)
        if own and not (type(module) in kinds and plain):
            found = f"{name or 'the model itself'} ({type(module).__name__})"
            return Unmet(
                "trained weights in linear layers and plain convolutions only", found, "use an mlp or a cnn"
            )
    return None


def no_frozen_copy(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """What takes weights away would leave the output at initialisation, which a regime subtracts, without its pair."""
    paths = [name for name, _ in setup.model.named_modules()]
    if not any(frozen_copies(setup.model, path) for path in paths):
        return None
    found = "one that subtracts its own output at initialisation"
    return Unmet("a network without a frozen copy of itself", found, "use a regime other than output_scale")
