"""Training without protection, and the control that has no need of it."""

from dataclasses import replace

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.training import Training


@register("strategy")
def naive(setup: Setup, training: Training) -> Learner:
    """Plain training on each phase in turn: the control that forgets.

    Bit-identical in weights to Avalanche's ``Naive`` on the same seed.
    """
    return build_learner(setup, training)


@register("strategy")
def joint(setup: Setup, training: Training) -> Learner:
    """Training on all tasks at once, whatever the stream's schedule: the control that need not forget.

    One phase, minibatches drawn from the union of all tasks; an epoch is one pass over all of it, so that
    the number of updates equals that of training task after task.
    """
    return build_learner(replace(setup, stream=setup.stream.scheduled("joint")), training)
