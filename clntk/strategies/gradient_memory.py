"""Gradients kept from raising the loss on stored examples."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import Unmet, requires
from clntk.strategies.training import Training

Count = Annotated[int, Field(ge=1)]


def room_for_every_phase(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """The sample is drawn evenly from all phases."""
    phases, sample = len(setup.stream.phases), options["agem_sample"]
    if sample >= phases:
        return None
    return Unmet(f"agem_sample of at least {phases}, one for each phase", str(sample), "raise it")


@register("strategy")
def gem(
    setup: Setup,
    training: Training,
    *,
    patterns: Count = 50,
    gem_margin: Annotated[float, Field(ge=0)] = 0.5,
) -> Learner:
    """Gradient episodic memory: the gradient is projected so that no earlier phase's stored loss rises.

    Through Avalanche's ``GEMPlugin``; its quadratic programme is solved by SciPy's non-negative least squares, so that
    no solver has to be installed beside it.

    Args:
        setup: what to train.
        training: shared options.
        patterns: examples stored of each phase.
        gem_margin: γ, how far the projection leans towards the stored examples.

    Source: Lopez-Paz & Ranzato 2017, arXiv 1706.08840, eq. (11).
    """
    return build_learner(setup, training, _gem(patterns, gem_margin))


def _gem(patterns: int, margin: float) -> Any:
    import torch
    from avalanche.training.plugins import GEMPlugin

    from clntk.strategies.avalanche.remember import remembering
    from clntk.strategies.quadratic import gem_projection

    class EpisodicMemory(GEMPlugin):
        def solve_quadprog(self, g: torch.Tensor) -> torch.Tensor:
            projected = gem_projection(
                self.G.double().cpu().numpy(), g.double().cpu().numpy(), self.memory_strength
            )
            return torch.from_numpy(projected).to(g)

    return remembering(EpisodicMemory, "memory_x", "memory_y", "memory_tid")(patterns, margin)


@register("strategy")
@requires(room_for_every_phase)
def agem(setup: Setup, training: Training, *, patterns: Count = 50, agem_sample: Count = 64) -> Learner:
    """Averaged gradient episodic memory: the gradient is projected so that the mean stored loss does not rise.

    Through Avalanche's ``AGEMPlugin``.

    Args:
        setup: what to train.
        training: shared options.
        patterns: examples stored of each phase.
        agem_sample: examples drawn from the memory for the reference gradient of each step, evenly from all phases.

    Source: Chaudhry et al. 2019, arXiv 1812.00420, eq. (11).
    """
    return build_learner(setup, training, _agem(patterns, agem_sample))


def _agem(patterns: int, sample: int) -> Any:
    from avalanche.benchmarks.utils.data_loader import GroupBalancedInfiniteDataLoader
    from avalanche.training.plugins import AGEMPlugin

    from clntk.strategies.avalanche.remember import remembering

    kept: Any = remembering(AGEMPlugin, "buffers")

    class AveragedMemory(kept):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            super().load_state_dict(state)
            if self.buffers:
                size = self.sample_size // len(self.buffers)
                self.buffer_dataloader = GroupBalancedInfiniteDataLoader(self.buffers, batch_size=size)
                self.buffer_dliter = iter(self.buffer_dataloader)

    return AveragedMemory(patterns, sample)
