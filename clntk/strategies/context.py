"""Gating by the weights of context inputs: fixed, or learned by a Hebbian rule."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from clntk.capture.look import frozen_copies
from clntk.regimes.rescale import Rescaled
from clntk.registry import register
from clntk.seeding import Purpose
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import Unmet, context_inputs, requires
from clntk.strategies.training import Training


def context_layer(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """There have to be weights from the context inputs."""
    if _reader(setup) is not None:
        return None
    return Unmet("a linear layer that reads the inputs", "none", "use an mlp")


def trained_context(setup: Setup, training: Training, options: Mapping[str, Any]) -> Unmet | None:
    """What is frozen does not learn, by whatever rule."""
    path = _reader(setup)
    assert path is not None  # context_layer comes first
    if setup.model.get_submodule(path).weight.requires_grad:
        return None
    return Unmet("context weights that are trained", f"{path} frozen", "train all layers, or fix the gates")


@register("strategy", cut=True)
@requires(context_inputs, context_layer)
def context_gating(
    setup: Setup, training: Training, *, context_weight: Annotated[float, Field(gt=0)] = 1.0
) -> Learner:
    """Fixed context weights of ±w: every hidden unit is pushed up in one context and down in all others.

    The units are shared equally among the contexts, at random; the first layer's weights from the context inputs are
    set before training and put back after every step. With rectified units and a context signal larger than what
    stimuli drive, each unit then works in its own context only.

    Args:
        setup: what to train.
        training: shared options.
        context_weight: w, as it enters the forward pass, whatever factor a regime puts before the layer's weights; what
            it does scales with the size of the context inputs (``stream.cue``).

    Source: Flesch, Nagy et al. 2023, PLoS Comput Biol 19:e1010808 (manually gated network).
    """
    from clntk.strategies.avalanche.context_weights import FixedWeights

    path, columns = _context(setup)
    layer = cast(nn.Linear, setup.model.get_submodule(path))
    signs = _preferences(layer.out_features, columns.stop - columns.start, setup.seeds.torch(Purpose.GATES))
    weights = (context_weight / _factor(setup.model, path) * signs).to(layer.weight)
    with torch.no_grad():
        for module in (layer, *cast(list[nn.Linear], frozen_copies(setup.model, path))):
            module.weight[:, columns] = weights
    return build_learner(setup, training, FixedWeights(layer, columns))


@register("strategy", cut=True)
@requires(context_inputs, context_layer, trained_context)
def hebbian_gating(
    setup: Setup,
    training: Training,
    *,
    hebbian_rate: Annotated[float, Field(gt=0)] = 0.01,
    centre: bool = True,
) -> Learner:
    """Gradient descent with a Hebbian step on the context weights: Oja's rule, Δw = η y (x − y w), y = wᵀx.

    After each step of the optimizer, x being the context inputs and w each unit's weights from them as they enter the
    forward pass, whatever factor a regime puts before them; for a minibatch the mean over its examples. On centred
    one-hot contexts the weights of each unit come to have opposite signs and a length of 1, so that it is pushed up in
    one context and down in the other.

    Args:
        setup: what to train.
        training: shared options.
        hebbian_rate: η.
        centre: whether x in the rule has the mean context of all training examples taken off (the authors centre their
            training data); the network itself sees the context as the stream gives it.

    Source: Flesch, Nagy et al. 2023, PLoS Comput Biol 19:e1010808; Oja 1982, J Math Biol 15:267.
    """
    from clntk.strategies.avalanche.context_weights import OjaStep

    path, columns = _context(setup)
    contexts = torch.cat([task.train.x[:, columns] for task in setup.stream.tasks])
    mean = contexts.mean(0) if centre else torch.zeros(contexts.shape[1])
    layer, factor = cast(nn.Linear, setup.model.get_submodule(path)), _factor(setup.model, path)
    return build_learner(setup, training, OjaStep(layer, columns, hebbian_rate, mean, factor))


def _context(setup: Setup) -> tuple[str, slice]:
    """The path of the layer that reads the inputs, and the columns of its weights that read the context."""
    path = _reader(setup)
    assert path is not None  # it is required
    return path, slice(*setup.stream.input_groups["context"])


def _reader(setup: Setup) -> str | None:
    """The path of the first linear layer with as many inputs as the stream."""
    features = setup.stream.shape.inputs[0]
    layers = setup.model.named_modules()
    return next((n for n, m in layers if isinstance(m, nn.Linear) and m.in_features == features), None)


def _factor(network: nn.Module, path: str) -> float:
    """What a regime multiplies the weights of a layer with in the forward pass."""
    around = network.get_submodule(path.rpartition(".")[0])
    return float(around.inner * around.outer) if isinstance(around, Rescaled) else 1.0


def _preferences(units: int, contexts: int, generator: torch.Generator) -> Tensor:
    """1 for each unit's own context and −1 for the others: units × contexts."""
    own = torch.arange(units)[torch.randperm(units, generator=generator)] % contexts
    return 2 * nn.functional.one_hot(own, contexts).float() - 1
