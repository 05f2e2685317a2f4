"""A part of the weights for each task."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.packed import pack
from clntk.strategies.requirements import Unmet, linear_layers, no_frozen_copy, one_task_a_phase, requires
from clntk.strategies.training import Training


def no_early_stop(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """A phase that ends early would end before weights are pruned."""
    if training.stop_loss is None:
        return None
    return Unmet(
        "a fixed number of epochs", f"stop_loss {training.stop_loss}", "leave strategy.stop_loss out"
    )


@register("strategy")
@requires(linear_layers, one_task_a_phase, no_frozen_copy, no_early_stop)
def packnet(
    setup: Setup,
    training: Training,
    *,
    prune: Annotated[float, Field(gt=0, lt=1)] = 0.6,
    retrain_epochs: Annotated[int, Field(ge=1)] = 2,
) -> Learner:
    """PackNet: each task keeps the largest of the weights that are still free, and no later task changes them.

    A task is trained on all free weights, seeing those of earlier tasks; then in every layer the smallest of the free
    weights are set to 0 and stay free, and the rest is trained for ``retrain_epochs`` more epochs and fixed. The task
    of every example is known, in tests too: a finished task sees its own and earlier weights, so that its outputs never
    change again. Biases are fixed after the first task; with a head of outputs for each task, the read-out's rows are
    the task's own and not pruned. Facts of a task's probes are those under the weights it sees, and kernels are over
    all weights, as in ``xdg``.

    Ours and not Avalanche's, which gives parameters other names, takes one task a batch, and starts the optimizer anew.

    Args:
        setup: what to train.
        training: shared options; ``epochs`` come before pruning.
        prune: share of the free weights of each layer that is set free again after each task.
        retrain_epochs: epochs after pruning.

    Source: Mallya & Lazebnik 2018, arXiv 1711.05769.
    """
    from clntk.strategies.avalanche.packing import Packing

    packed = pack(setup.model, setup.stream)
    return build_learner(
        setup, training, Packing(packed, setup.stream, prune, retrain_epochs), switch=packed.switch
    )
