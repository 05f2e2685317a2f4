"""Rehearsal with a loss of its own on the stored examples.

Avalanche has templates for the first two with training loops of their own, for class labels and cross-entropy alone,
and a plugin for the third that leaves out every class of the last minibatch, so that it does nothing where tasks share
their labels. Here each adds its terms to the loss of whatever is trained.
"""

from typing import Annotated

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import cross_entropy, requires
from clntk.strategies.training import Training

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


@register("strategy")
def der(
    setup: Setup,
    training: Training,
    *,
    memory_size: Count = 200,
    der_alpha: Weight = 0.1,
    der_beta: Weight = 0.5,
) -> Learner:
    """Dark experience replay: outputs on stored examples are held to the logits that were stored with them.

    To the loss of each minibatch come α · mean (f(x') − z')² and β times the loss on x'', y'', two draws of as many
    stored examples as the minibatch has; the mean is over examples and the outputs of their heads. β > 0 makes it
    DER++. Logits are stored at the end of each phase (the paper stores them while it trains).

    Args:
        setup: what to train.
        training: shared options.
        memory_size: examples kept in all, an equal share of each past phase.
        der_alpha: weight α of the stored logits.
        der_beta: weight β of the stored targets; 0 is plain DER.

    Source: Buzzega et al. 2020, arXiv 2004.07211, eqs. (4) and (6).
    """
    from clntk.strategies.avalanche.rehearse import DarkExperience

    return build_learner(setup, training, DarkExperience(memory_size, der_alpha, der_beta))


@register("strategy")
@requires(cross_entropy)
def er_ace(setup: Setup, training: Training, *, memory_size: Count = 200) -> Learner:
    """Replay with asymmetric cross-entropy: new examples compete among the classes of their own minibatch only.

    So old classes are not pushed down to make room for new ones; stored examples, as many as the minibatch has, compete
    among all classes. The two mean losses are added. The first phase trains as usual.

    Args:
        setup: what to train.
        training: shared options.
        memory_size: examples kept in all, an equal share of each phase so far and of the one in training.

    Source: Caccia et al. 2022, arXiv 2104.05025, eq. (4).
    """
    from clntk.strategies.avalanche.rehearse import AsymmetricReplay

    return build_learner(setup, training, AsymmetricReplay(memory_size))


@register("strategy")
def mir(
    setup: Setup, training: Training, *, memory_size: Count = 200, mir_candidates: Count = 100
) -> Learner:
    """Maximally interfered retrieval: replay of the stored examples whose loss the next step would raise most.

    For each minibatch, candidates are drawn from the memory, the step of plain gradient descent on the minibatch is
    taken on trial, and as many candidates as the minibatch has, those whose loss rose most, add their mean loss.

    Args:
        setup: what to train.
        training: shared options.
        memory_size: examples kept in all, an equal share of each past phase.
        mir_candidates: drawn for each minibatch.

    Source: Aljundi et al. 2019, arXiv 1908.04742, algorithm 1 (ER-MIR).
    """
    from clntk.strategies.avalanche.rehearse import InterferedRetrieval

    return build_learner(setup, training, InterferedRetrieval(memory_size, mir_candidates))
