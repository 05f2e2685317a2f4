"""Steps kept orthogonal to what earlier tasks' outputs depend on."""

from typing import Annotated, Literal

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner, disjoint_heads
from clntk.strategies.requirements import linear_layers, requires
from clntk.strategies.training import Training

Count = Annotated[int, Field(ge=1)]


@register("strategy")
def ogd(
    setup: Setup,
    training: Training,
    *,
    gradients: Count = 200,
    logits: Literal["ground_truth", "all"] = "ground_truth",
) -> Learner:
    """Orthogonal gradient descent: steps orthogonal to the gradients of logits on examples of earlier phases.

    After each phase, the gradients of logits of randomly drawn training examples join an orthonormal basis; in later
    phases every step of the optimizer is projected onto the basis' complement (for plain SGD: the gradient is), so that
    the stored logits stay where they are to first order.

    Args:
        setup: what to train.
        training: shared options.
        gradients: drawn after each phase.
        logits: of each example: that of its label (float targets: all), or all, one drawn at random for each gradient.

    Source: Farajtabar et al. 2020, arXiv 1910.07104, algorithm 1 (OGD-GTL and OGD-ALL).
    """
    from clntk.strategies.avalanche.gradient_basis import GradientBasis

    return build_learner(setup, training, GradientBasis(gradients, logits))


@register("strategy")
def pca_ogd(
    setup: Setup,
    training: Training,
    *,
    gradients: Count = 200,
    logits: Literal["ground_truth", "all"] = "ground_truth",
    pca_samples: Count = 600,
) -> Learner:
    """Orthogonal gradient descent whose basis holds the principal directions of many gradients, not a few of them.

    After each phase the leading right singular vectors of ``pca_samples`` gradients join the basis, no more than the
    gradients span; they are not centred, as in the paper's overlap matrix (its code centres them).

    Args:
        setup: what to train.
        training: shared options.
        gradients: directions kept after each phase.
        logits: as in ``ogd``.
        pca_samples: gradients drawn after each phase, of which these are the principal directions.

    Source: Doan et al. 2021, arXiv 2010.04003, section 5.
    """
    from clntk.strategies.avalanche.gradient_basis import GradientBasis

    return build_learner(setup, training, GradientBasis(gradients, logits, pca_samples))


@register("strategy")
@requires(linear_layers)
def gpm(
    setup: Setup,
    training: Training,
    *,
    gpm_threshold: Annotated[float, Field(gt=0, le=1)] = 0.95,
    gpm_increase: Annotated[float, Field(ge=0)] = 0.003,
    gpm_samples: Count = 300,
) -> Learner:
    """Gradient projection memory: each layer's steps are orthogonal to the inputs that it had in earlier phases.

    After each phase, the leading singular vectors of a layer's inputs (patches, for a convolution; a 1 behind them
    stands for the bias) join its basis until they hold a share ε of the inputs' squared norm, together with the basis
    they had before. In later phases every step ΔW becomes ΔW (I − M Mᵀ). Read-outs with a head of outputs for each task
    are left free, as in the paper.

    Args:
        setup: what to train.
        training: shared options.
        gpm_threshold: share ε after the first phase.
        gpm_increase: what ε grows by with each further phase, up to 1.
        gpm_samples: training examples drawn after each phase.

    Source: Saha et al. 2021, arXiv 2103.09762, eqs. (4)–(9).
    """
    from clntk.strategies.avalanche.input_basis import InputBasis

    free = disjoint_heads(setup.stream)
    plugin = InputBasis(gpm_threshold, gpm_increase, gpm_samples, free_readout=free)
    return build_learner(setup, training, plugin)
