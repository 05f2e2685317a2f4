"""Networks that start again from their initial weights in every phase."""

from typing import Any

import torch
from avalanche.training.plugins import GDumbPlugin
from torch import Tensor, nn

from clntk.strategies.avalanche.remember import remembering


class InitialWeights(GDumbPlugin):
    """Avalanche's GDumb on the same network throughout, so that whoever looks at it keeps looking at the trained one.

    Args:
        network: the network, at its initial weights.
        memory_size: of the memory balanced over classes.
        whole: whether minibatches are to hold all of the memory.
    """

    def __init__(self, network: nn.Module, memory_size: int, *, whole: bool) -> None:
        super().__init__(memory_size)
        self.whole = whole
        self.initial: dict[str, Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self._network = network

    @torch.no_grad()
    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Back to the initial weights, and to an optimizer without a past."""
        self._network.load_state_dict(self.initial)
        strategy.optimizer.state.clear()

    def before_eval_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Evaluation changes nothing."""

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        self.storage_policy.post_adapt(strategy, strategy.experience)
        strategy.adapted_dataset = self.storage_policy.buffer
        if self.whole:
            strategy.train_mb_size = len(strategy.adapted_dataset)


def trained_anew(network: nn.Module, memory_size: int, *, whole: bool) -> GDumbPlugin:
    """The plugin with a memory, and initial weights, that can be saved and restored."""
    kept = ("initial", "storage_policy.buffer_groups", "storage_policy.seen_classes")
    return remembering(InitialWeights, *kept)(network, memory_size, whole=whole)
