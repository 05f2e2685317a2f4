"""Elastic weight consolidation."""

from typing import Annotated, Any

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.training import Training


@register("strategy")
def ewc(
    setup: Setup,
    training: Training,
    *,
    ewc_lambda: Annotated[float, Field(ge=0)] = 100.0,
) -> Learner:
    """Elastic weight consolidation: a quadratic penalty holds weights that mattered for earlier phases.

    The importance of a weight is the mean over minibatches of its squared minibatch gradient, as in Avalanche's
    ``EWCPlugin``; that is not the Fisher information of Kirkpatrick et al., whose gradients are per example:
    importances shrink with the batch size, so ``ewc_lambda`` has to be chosen for it.

    Args:
        setup: what to train.
        training: shared options.
        ewc_lambda: weight of the penalty λ Σ_k F_k (θ − θ_k*)².

    Source: Kirkpatrick et al. 2017, arXiv 1612.00796.
    """
    return build_learner(setup, training, _penalty(ewc_lambda))


def _penalty(ewc_lambda: float) -> Any:
    from avalanche.training.plugins import EWCPlugin
    from avalanche.training.utils import ParamData

    class Penalty(EWCPlugin):
        """Avalanche's EWC, whose anchors and importances can be saved and restored."""

        def state_dict(self) -> dict[str, Any]:
            return {
                part: {
                    k: {name: p.data for name, p in params.items()}
                    for k, params in getattr(self, part).items()
                }
                for part in ("saved_params", "importances")
            }

        def load_state_dict(self, state: dict[str, Any]) -> None:
            for part, phases in state.items():
                kept = getattr(self, part)
                kept.clear()
                for k, params in phases.items():
                    kept[k] = {
                        name: ParamData(name, init_tensor=data, device=data.device)
                        for name, data in params.items()
                    }

    return Penalty(ewc_lambda)
