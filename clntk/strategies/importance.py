"""Penalties on moving weights that mattered, by other measures of importance than the Fisher information."""

from typing import Annotated, Any, Literal

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.training import Training

Strength = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@register("strategy")
def si(
    setup: Setup, training: Training, *, si_c: Strength = 1.0, si_xi: Annotated[float, Field(gt=0)] = 0.1
) -> Learner:
    """Synaptic intelligence: a weight matters by how much its own movement lowered the loss.

    Over a phase, ω_i = −Σ_steps g_i Δθ_i with g the gradient of the task's loss, and Ω_i grows by ω_i/((Δθ_i)² + ξ)
    with Δθ_i the movement over the whole phase, never below 0. In later phases the loss grows by
    c Σ_i Ω_i (θ_i − θ̃_i)², θ̃ the weights at the end of the phase before. The penalty acts on the gradient: the losses
    that are recorded are the tasks' alone.

    Args:
        setup: what to train.
        training: shared options.
        si_c: strength c of the penalty.
        si_xi: damping ξ, in squared units of the weights: where a regime lets them move little, it stands in the way.
            Under ``output_scale``, ξ/α² protects as ξ does at α = 1, and ξ itself not at all.

    Source: Zenke et al. 2017, arXiv 1703.04200, eqs. (3)–(5). Avalanche's plugin leaves all importances at 0 on CPU.
    """
    from clntk.strategies.avalanche.path_integral import PathIntegral

    return build_learner(setup, training, PathIntegral(si_c, si_xi))


@register("strategy")
def mas(
    setup: Setup,
    training: Training,
    *,
    mas_lambda: Strength = 0.03,
    mas_alpha: Share = 0.5,
    importance: Literal["per_example", "minibatch"] = "per_example",
) -> Learner:
    """Memory aware synapses: a weight matters by how much it moves the squared length of the output.

    The loss grows by λ Σ_i Ω_i (θ_i − θ*_i)², θ* the weights at the end of the phase before. Through Avalanche's
    ``MASPlugin``; the authors' code adds up the importances of all phases, with λ = 1.

    Args:
        setup: what to train.
        training: shared options.
        mas_lambda: weight of the penalty λ. Importances grow as α under ``output_scale`` and squared movements fall as
            1/α²: there, α λ protects as λ does at α = 1.
        mas_alpha: share of the old importances in Ω ← α Ω + (1 − α) Ω_new after each later phase.
        importance: ``per_example``: Ω_new is the mean over examples of |∂‖f(x)‖²/∂θ_i|, as in the paper;
            ``minibatch``: the gradients of minibatch means, whose signs cancel, as in Avalanche.

    Source: Aljundi et al. 2018, arXiv 1711.09601, eq. (3).
    """
    return build_learner(setup, training, _mas(mas_lambda, mas_alpha, importance))


def _mas(strength: float, alpha: float, importance: str) -> Any:
    from clntk.strategies.avalanche.fisher import OutputMAS
    from clntk.strategies.avalanche.remember import remembering

    per_example = importance == "per_example"
    return remembering(OutputMAS, "params", "importance")(strength, alpha, per_example=per_example)


@register("strategy")
def rwalk(
    setup: Setup,
    training: Training,
    *,
    rwalk_lambda: Strength = 1.0,
    rwalk_alpha: Share = 0.9,
    rwalk_interval: Annotated[int, Field(ge=1)] = 10,
) -> Learner:
    """Riemannian walk: a weight matters by its Fisher information and by how much its movement lowered the loss.

    The loss grows by λ Σ_i (F_i + s_i) (θ_i − θ*_i)², both terms scaled to a maximum of 1, with F a running average of
    squared minibatch gradients and s the loss lowered per distance in the Fisher metric. Through Avalanche's
    ``RWalkPlugin``, which would leave the network in evaluation mode, lose the steps after the last full interval, and
    divide by 0 where no step lowered the loss.

    Args:
        setup: what to train.
        training: shared options.
        rwalk_lambda: weight of the penalty λ. Importances have a maximum of 2, whatever the outputs' scale: under
            ``output_scale``, α² λ protects as λ does at α = 1, and λ itself not at all.
        rwalk_alpha: weight of the newest gradient in the running average.
        rwalk_interval: steps over which a score is taken.

    Source: Chaudhry et al. 2018, arXiv 1801.10112, eqs. (6)–(8).
    """
    return build_learner(setup, training, _rwalk(rwalk_lambda, rwalk_alpha, rwalk_interval))


def _rwalk(strength: float, alpha: float, interval: int) -> Any:
    from clntk.strategies.avalanche.remember import remembering
    from clntk.strategies.avalanche.riemannian import RiemannianWalk

    kept = ("iter_importance", "exp_scores", "exp_params", "exp_importance", "exp_penalties")
    return remembering(RiemannianWalk, *kept)(strength, alpha, interval)
