"""Elastic weight consolidation."""

from typing import Annotated, Any, Literal

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import likelihood, requires
from clntk.strategies.training import Training


@register("strategy")
@requires(likelihood)
def ewc(
    setup: Setup,
    training: Training,
    *,
    ewc_lambda: Annotated[float, Field(ge=0)] = 1.0,
    fisher: Literal["per_example", "minibatch"] = "per_example",
    fisher_labels: Literal["model", "data"] = "model",
) -> Learner:
    """Elastic weight consolidation: a quadratic penalty holds weights that mattered for earlier phases.

    The loss grows by λ Σ_k Σ_i F_ki (θ_i − θ*_ki)² over the earlier phases k (the paper writes λ/2), with F_k the
    diagonal of the Fisher information at the end of phase k, averaged over its training examples.

    Args:
        setup: what to train.
        training: shared options.
        ewc_lambda: weight of the penalty λ.
        fisher: ``per_example`` squares the gradient of each example's log-likelihood, which is what the Fisher
            information is; ``minibatch`` squares the gradients of minibatches, as Avalanche's ``EWCPlugin`` does and
            bit for bit: importances then shrink with the batch size, and λ has to be chosen for it.
        fisher_labels: only ``per_example``: expectation over the labels that the ``model`` predicts (the Fisher
            information of the paper; exact, no sampling; for squared errors the likelihood is a Gaussian of variance
            1), or the labels of the ``data`` (the empirical Fisher).

    Source: Kirkpatrick et al. 2017, arXiv 1612.00796, eq. (3); Kunstner et al. 2019, arXiv 1905.12558 (true and
    empirical Fisher).
    """
    return build_learner(setup, training, _penalty(ewc_lambda, fisher, fisher_labels))


def _penalty(ewc_lambda: float, fisher: str, labels: str) -> Any:
    from avalanche.training.plugins import EWCPlugin

    from clntk.strategies.avalanche.fisher import FisherEWC
    from clntk.strategies.avalanche.remember import remembering

    kept = ("saved_params", "importances")
    if fisher == "minibatch":
        return remembering(EWCPlugin, *kept)(ewc_lambda)
    return remembering(FisherEWC, *kept)(ewc_lambda, labels)
