"""Feature-learning strength that means the same at every width."""

import math
from typing import Annotated

from pydantic import Field
from torch import nn

from clntk.models.layers import fan_in
from clntk.regimes.base import Regime, readout_of
from clntk.regimes.ntk_parametrization import Sigma, unit_weights
from clntk.regimes.output_scale import CentredOutput, ScaledOutput
from clntk.registry import register
from clntk.shape import TaskShape


@register("regime")
def mean_field(
    model: nn.Module,
    shape: TaskShape,
    *,
    gamma0: Annotated[float, Field(gt=0)] = 1.0,
    centred: bool = True,
    sigma_w: Sigma | list[Sigma] | None = None,
    sigma_b: Sigma | None = None,
) -> Regime:
    """Mean-field parametrisation: γ₀ sets how much features are learnt, alike at every width; lazy as γ₀ goes to 0.

    Initialisation and forward pass: those of ``ntk_parametrization``, with the output divided by γ = γ₀ √N, N the
    read-out's fan-in. Learning rate: times γ², so that outputs start to move as in NTK parametrisation, while
    features move in proportion to γ₀ at any N. By default the output at initialisation is subtracted: it vanishes as N
    grows, but at finite N and small γ₀ it is as large as 1/(γ₀ √N). It is ``output_scale`` with α = 1/γ, of the
    network in NTK parametrisation. For SGD alone: Adam's steps do not shrink with the output.

    Args:
        model: the network, freshly initialised.
        shape: the task shape (not used).
        gamma0: the feature-learning strength γ₀ > 0.
        centred: whether the output is zero at initialisation.
        sigma_w: as for ``ntk_parametrization``.
        sigma_b: as for ``ntk_parametrization``.

    Raises:
        DataError: for a wrong number of σ_w, or weights in modules that cannot be rescaled.

    Source: Bordelon & Pehlevan 2022, arXiv 2205.09653, section 2; in continual learning, Graldi et al. 2025, arXiv
    2506.16884.
    """
    del shape
    units = fan_in(readout_of(model, "mean_field"))
    network = unit_weights(model, "mean_field", sigma_w, sigma_b)
    gamma = gamma0 * math.sqrt(units)
    scaled = CentredOutput if centred else ScaledOutput
    return Regime(scaled(network, 1 / gamma), lr_scale=gamma**2, optimizer="sgd")
