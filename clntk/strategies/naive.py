"""Training without protection, and the controls that have no need of it."""

from dataclasses import replace
from typing import Any

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.training import Training


@register("strategy", cut=True)
def naive(setup: Setup, training: Training) -> Learner:
    """Plain training on each phase in turn: the control that forgets.

    Bit-identical in weights to Avalanche's ``Naive`` on the same seed.
    """
    return build_learner(setup, training)


@register("strategy")
def joint(setup: Setup, training: Training) -> Learner:
    """Training on all tasks at once, whatever the stream's schedule: the control that need not forget.

    One phase, minibatches drawn from the union of all tasks; an epoch is one pass over all of it, so that
    as many examples are seen as in training task after task, in about as many updates.
    """
    return build_learner(replace(setup, stream=setup.stream.scheduled("joint")), training)


@register("strategy")
def cumulative(setup: Setup, training: Training) -> Learner:
    """Training in each phase on its own data and that of all phases before: the control that throws nothing away.

    As Avalanche's ``Cumulative``; minibatches are drawn from the union. An epoch is one pass over all of it, so that
    later phases take more steps. Training to a matched loss (``stop_loss``) looks at the phase's own data.
    """
    return build_learner(setup, training, _everything_so_far(setup, whole=training.batch_size is None))


def _everything_so_far(setup: Setup, *, whole: bool) -> Any:
    from avalanche.benchmarks.utils.utils import concat_datasets
    from avalanche.core import SupervisedPlugin

    class EverythingSoFar(SupervisedPlugin):
        """Which data that is follows from the number of phases done: there is nothing to remember."""

        def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
            done = strategy.clock.train_exp_counter
            experiences = list(setup.stream.benchmark.train_stream)[: done + 1]
            strategy.adapted_dataset = concat_datasets([experience.dataset for experience in experiences])
            if whole:
                strategy.train_mb_size = len(strategy.adapted_dataset)

    return EverythingSoFar()
