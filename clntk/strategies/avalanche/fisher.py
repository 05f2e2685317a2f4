"""Importances of weights from the gradients of single examples, in place of Avalanche's from minibatches."""

from collections.abc import Iterator
from typing import Any

import torch
from avalanche.training.plugins import EWCPlugin, MASPlugin
from avalanche.training.utils import ParamData
from torch import Tensor, nn

from clntk.strategies.avalanche.per_task import bare, logits
from clntk.strategies.avalanche.steps import phase_examples
from clntk.strategies.gradients import example_gradients, unflat
from clntk.strategies.training import OUTSIDE, Loss

Directions = Iterator[
    tuple[Tensor, Tensor]
]  # sums of logits (examples × outputs), and the weight of each example


class FisherEWC(EWCPlugin):
    """Avalanche's penalty with the diagonal of the Fisher information as importances.

    Args:
        ewc_lambda: weight of the penalty.
        labels: ``model`` (expectation over the labels that the network predicts) or ``data``.
    """

    def __init__(self, ewc_lambda: float, labels: str) -> None:
        super().__init__(ewc_lambda)
        self.labels = labels

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self._examples = phase_examples(strategy)
        super().after_training_exp(strategy, **kwargs)
        del self._examples

    def compute_importances(
        self, model: nn.Module, criterion: Loss, *_: Any, **__: Any
    ) -> dict[str, ParamData]:
        """F_i = mean over examples of E_y[(∂ log p(y | x)/∂θ_i)²]."""
        x, y, tasks = self._examples
        model.eval()
        with torch.no_grad():
            f = logits(model, x, tasks)
        along = data_scores(criterion, f, y) if self.labels == "data" else model_scores(criterion, f)
        found = importances(model, x, tasks, along, power=2)
        model.train()
        return found


class OutputMAS(MASPlugin):
    """Avalanche's memory aware synapses, with importances averaged over examples, as in the paper, where asked for.

    Args:
        strength: weight of the penalty.
        alpha: share of the old importances.
        per_example: whether importances are means over examples or, as in Avalanche, over minibatches.
    """

    def __init__(self, strength: float, alpha: float, *, per_example: bool) -> None:
        super().__init__(strength, alpha)
        self.per_example = per_example

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """The penalty; Avalanche's own stops with an error where the loss is exactly 0."""
        for name, p in strategy.model.named_parameters():
            if self.importance:
                moved = (p - self.params[name].data).square()
                strategy.loss += self._lambda * (self.importance[name].data * moved).sum()

    def _get_importance(self, strategy: Any) -> dict[str, ParamData]:
        """Ω_i = mean over examples of |∂‖f(x)‖²/∂θ_i|."""
        if not self.per_example:
            return super()._get_importance(strategy)
        x, _, tasks = phase_examples(strategy)
        strategy.model.eval()
        with torch.no_grad():
            f = logits(strategy.model, x, tasks)
        along = iter([(2 * f.masked_fill(f == OUTSIDE, 0.0), torch.ones(len(f)))])
        found = importances(strategy.model, x, tasks, along, power=1)
        strategy.model.train()
        return found


def data_scores(loss: Loss, f: Tensor, y: Tensor) -> Directions:
    """The gradient of each example's loss in its logits: ∂ log p(y_n | x_n) but for the sign."""
    with torch.enable_grad():
        f = f.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss.each(f, y).sum(), f)
    yield gradient, torch.ones(len(f))


def model_scores(loss: Loss, f: Tensor) -> Directions:
    """For each label that the model may predict, ∂ log p(c | x_n)/∂f and p(c | x_n).

    For squared errors the likelihood is N(f, 1), whose Fisher information is Σ_c (∂f_c)²: the unit vectors inside the
    head, each with weight 1.
    """
    one = torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
    p = f.softmax(1)
    for c in range(f.shape[1]):
        inside = f[:, c] != OUTSIDE
        if loss.name == "cross_entropy":
            yield one[c] - p, p[:, c] * inside
        else:
            yield one[c].expand_as(f), inside.to(f.dtype)


def importances(
    model: nn.Module, x: Tensor, tasks: Tensor, along: Directions, *, power: int
) -> dict[str, ParamData]:
    """Mean over examples of Σ weight · |∂⟨f(x_n), direction⟩/∂θ|^power, by parameter name of the model; 0 for
    parameters that are not trained."""
    network, inputs = bare(model, x, tasks)
    total: Tensor | None = None
    for directions, weights in along:
        start = 0
        for gradients in example_gradients(network, inputs, directions):
            weight = weights[start : start + len(gradients)].to(gradients)
            share = weight @ gradients.abs().pow(power)
            total = share if total is None else total + share
            start += len(gradients)
    assert total is not None  # there are examples, and outputs to differentiate
    wanted = [p for p in model.parameters() if p.requires_grad]
    parts = iter(unflat(total / len(x), wanted))
    return {
        name: ParamData(
            name, init_tensor=next(parts) if p.requires_grad else torch.zeros_like(p), device=p.device
        )
        for name, p in model.named_parameters()
    }
