"""Plugins that add a loss on stored examples to the loss of each minibatch."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import is_multi_task_module
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from clntk.strategies.avalanche.per_task import logits
from clntk.strategies.avalanche.steps import phase_examples
from clntk.strategies.memory import Columns, Memory
from clntk.strategies.training import OUTSIDE


class Rehearsal(SupervisedPlugin):
    """Keeps a memory of past phases; what is done with it is the subclass'.

    Args:
        memory_size: examples kept in all.
    """

    def __init__(self, memory_size: int) -> None:
        super().__init__()
        self.memory = Memory(memory_size)

    def drawn(self, strategy: Any, n: int) -> Columns:
        """Stored examples on the device of training, with columns x, y and t (and others)."""
        return {name: column.to(strategy.device) for name, column in self.memory.draw(n).items()}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if len(self.memory):
            self.rehearse(strategy)

    def rehearse(self, strategy: Any) -> None:
        """Change ``strategy.loss``; there are stored examples."""
        raise NotImplementedError

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.memory.add(dict(zip("xyt", phase_examples(strategy), strict=True)))

    def state_dict(self) -> dict[str, Any]:
        return self.memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state)


class DarkExperience(Rehearsal):
    """Dark experience replay.

    Args:
        memory_size: examples kept in all.
        alpha: weight of the stored logits.
        beta: weight of the stored targets.
    """

    def __init__(self, memory_size: int, alpha: float, beta: float) -> None:
        super().__init__(memory_size)
        self.alpha, self.beta = alpha, beta

    def rehearse(self, strategy: Any) -> None:
        n = len(strategy.mb_x)
        one = self.drawn(strategy, n)
        inside = one["z"] != OUTSIDE  # the others are the same by definition, and would thin the mean
        f = logits(strategy.model, one["x"], one["t"])
        strategy.loss += self.alpha * functional.mse_loss(f[inside], one["z"][inside])
        if self.beta > 0:
            other = self.drawn(strategy, n)
            f = logits(strategy.model, other["x"], other["t"])
            strategy.loss += self.beta * strategy._criterion(f, other["y"])

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        x, y, t = phase_examples(strategy)
        strategy.model.eval()
        with torch.no_grad():
            z = logits(strategy.model, x, t)
        strategy.model.train()
        self.memory.add({"x": x, "y": y, "t": t, "z": z})


class AsymmetricReplay(Rehearsal):
    """Replay with asymmetric cross-entropy.

    The memory takes in a phase's examples before it is trained: only there do new classes compete with old ones.
    """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """The phase's examples are in the memory already."""

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter > 0:
            self.rehearse(strategy)

    def rehearse(self, strategy: Any) -> None:
        stored = self.drawn(strategy, len(strategy.mb_x))
        f = logits(strategy.model, stored["x"], stored["t"])
        new = among_present(strategy.mb_output, strategy.mb_y)
        strategy.loss = (new + strategy._criterion(f, stored["y"])).reshape(1)


def among_present(f: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy among the classes that occur in the minibatch, averaged over its examples."""
    absent = torch.ones(f.shape[1], dtype=torch.bool, device=f.device)
    absent[y] = False
    return functional.cross_entropy(f.masked_fill(absent, OUTSIDE), y)


class InterferedRetrieval(Rehearsal):
    """Maximally interfered retrieval.

    Args:
        memory_size: examples kept in all.
        candidates: drawn for each minibatch.
    """

    def __init__(self, memory_size: int, candidates: int) -> None:
        super().__init__(memory_size)
        self.candidates = candidates

    def rehearse(self, strategy: Any) -> None:
        drawn = self.drawn(strategy, self.candidates)
        x, y, t = (drawn[name] for name in "xyt")
        loss = strategy._criterion
        moved = self._trial_step(strategy)
        with torch.no_grad():
            arguments = (x, t) if is_multi_task_module(strategy.model) else (x,)
            after = loss.each(functional_call(strategy.model, moved, arguments), y)
            before = loss.each(logits(strategy.model, x, t), y)
        worst = (after - before).argsort(descending=True)[: len(strategy.mb_x)]
        strategy.loss += loss(logits(strategy.model, x[worst], t[worst]), y[worst])

    @staticmethod
    def _trial_step(strategy: Any) -> dict[str, Tensor]:
        """The parameters after a step of gradient descent on the minibatch, at the optimizer's learning rates."""
        rates = {id(p): group["lr"] for group in strategy.optimizer.param_groups for p in group["params"]}
        named = {name: p for name, p in strategy.model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(
            strategy.loss, list(named.values()), retain_graph=True, allow_unused=True
        )
        return {
            name: p.detach() if g is None else p.detach() - rates[id(p)] * g
            for (name, p), g in zip(named.items(), gradients, strict=True)
        }
