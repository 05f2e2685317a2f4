"""Riemannian walk as Avalanche has it, where it goes wrong set right."""

from typing import Any

from avalanche.training.plugins import RWalkPlugin
from avalanche.training.utils import ParamData


class RiemannianWalk(RWalkPlugin):
    """Avalanche's plugin, in training mode, to the last step, and finite."""

    def before_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        super().before_training_iteration(strategy, *args, **kwargs)
        strategy.model.train()

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._update_score(strategy)  # of the last interval, which may be a short one
        super().after_training_exp(strategy, *args, **kwargs)
        importance = _scaled({name: p.data for name, p in self.exp_importance.items()})
        score = _scaled({name: p.data.clamp(min=0) for name, p in self.exp_scores.items()})
        self.exp_penalties = {
            name: ParamData(name, init_tensor=importance[name] + score[name], device=score[name].device)
            for name in importance
        }


def _scaled(values: dict[str, Any]) -> dict[str, Any]:
    """Tensors of non-negative values divided by the largest of all, unless that is 0."""
    largest = max(float(value.max()) for value in values.values())
    return {name: value / largest if largest > 0 else value for name, value in values.items()}
