"""Rehearsal of stored examples beside new ones, or in their place, with Avalanche's memories."""

from typing import Annotated, Any

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import class_labels, requires
from clntk.strategies.training import Training

Count = Annotated[int, Field(ge=1)]


@register("strategy")
def replay(setup: Setup, training: Training, *, memory_size: Count = 200) -> Learner:
    """Experience replay: each minibatch is joined by as many examples from a memory balanced over past phases.

    Full minibatches, that is: the last of a pass over data or memory, which may be smaller, is not filled up.

    Args:
        setup: what to train.
        training: shared options.
        memory_size: examples kept in all; each past phase keeps an equal share, drawn at random.

    Source: Chaudhry et al. 2019, arXiv 1902.10486; Avalanche's ``ReplayPlugin``, whose weights it matches bit for
    bit.
    """
    return build_learner(setup, training, _memory(memory_size))


def _memory(memory_size: int) -> Any:
    from avalanche.training.plugins import ReplayPlugin

    from clntk.strategies.avalanche.remember import remembering

    kept: Any = remembering(ReplayPlugin, "storage_policy._num_exps", "storage_policy.buffer_groups")

    class Memory(kept):
        def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            """What Avalanche does here, by a method that is not past its time."""
            self.storage_policy.post_adapt(strategy, strategy.experience)

    return Memory(mem_size=memory_size)


@register("strategy")
@requires(class_labels)
def gdumb(setup: Setup, training: Training, *, memory_size: Count = 200) -> Learner:
    """Greedy sampler and dumb learner: each phase trains the initial network anew, on a memory alone.

    The memory is balanced over the classes seen so far and takes in the new phase's examples first. A control: what it
    reaches needs no memory in the weights. An epoch is a pass over the memory: to be trained out, as in the paper (256
    epochs), takes more of them than other strategies need.

    Through Avalanche's ``GDumbPlugin``, which puts another network in the place of the old one; here the weights go
    back to their initial values.

    Args:
        setup: what to train.
        training: shared options.
        memory_size: examples kept in all, an equal share of each class, drawn at random.

    Source: Prabhu et al. 2020, GDumb, ECCV, LNCS 12347:524.
    """
    from clntk.strategies.avalanche.anew import trained_anew

    return build_learner(
        setup, training, trained_anew(setup.model, memory_size, whole=training.batch_size is None)
    )
