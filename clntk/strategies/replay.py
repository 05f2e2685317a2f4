"""Rehearsal of stored examples."""

from typing import Annotated, Any

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.training import Training


@register("strategy")
def replay(
    setup: Setup,
    training: Training,
    *,
    memory_size: Annotated[int, Field(ge=1)] = 200,
) -> Learner:
    """Experience replay: each minibatch is joined by as many examples from a memory balanced over past phases.

    Args:
        setup: what to train.
        training: shared options.
        memory_size: examples kept in all; each past phase keeps an equal share, drawn at random.

    Source: Chaudhry et al. 2019, arXiv 1902.10486; Avalanche's ``ReplayPlugin``, whose weights it matches bit for
    bit.
    """
    return build_learner(setup, training, _memory(memory_size))


def _memory(memory_size: int) -> Any:
    import torch
    from avalanche.training.plugins import ReplayPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer

    from clntk.strategies.avalanche.loader import dataset_tensors
    from clntk.streams.avalanche.benchmark import avalanche_dataset
    from clntk.streams.base import Split

    class Memory(ReplayPlugin):
        """Avalanche's replay, whose memory can be saved and restored."""

        def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            self.storage_policy.post_adapt(strategy, strategy.experience)

        def state_dict(self) -> dict[str, Any]:
            groups = self.storage_policy.buffer_groups
            return {
                "phases": self.storage_policy._num_exps,
                "groups": {
                    key: {
                        "examples": dict(zip("xyt", dataset_tensors(group.buffer), strict=True)),
                        "weights": group._buffer_weights,
                        "max_size": group.max_size,
                    }
                    for key, group in groups.items()
                },
            }

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.storage_policy._num_exps = state["phases"]
            self.storage_policy.buffer_groups.clear()
            for key, saved in state["groups"].items():
                group = ReservoirSamplingBuffer(saved["max_size"])
                examples = saved["examples"]
                group.buffer = avalanche_dataset(Split(examples["x"], examples["y"]), examples["t"])
                group._buffer_weights = torch.as_tensor(saved["weights"])
                self.storage_policy.buffer_groups[key] = group

    return Memory(mem_size=memory_size)
