"""A linear model of random features."""

from torch import nn

from clntk.models.frozen import freeze_below
from clntk.models.layers import Activation, Positive
from clntk.models.mlp import mlp
from clntk.registry import register
from clntk.shape import TaskShape


@register("model")
def random_features(
    shape: TaskShape,
    *,
    width: Positive = 1024,
    depth: Positive = 1,
    activation: Activation = "relu",
    bias: bool = True,
    bias_init: float = 0.0,
    init_scale: float | list[float] = 1.0,
) -> nn.Module:
    """Random features: the network ``mlp`` with its hidden layers as drawn, of which only the read-out is trained.

    The frozen weights stay parameters that require no gradient: they are stored and counted with the others, and have
    no part in the tangent kernel, which is that of the features.

    Args:
        shape: shape of the inputs and number of outputs.
        width: number of features, the units of each hidden layer.
        depth: number of hidden layers.
        activation: nonlinearity of the hidden layers.
        bias: whether layers have biases.
        bias_init: the value all biases start from.
        init_scale: one factor on the weights of all layers, or one for each (read-out last).

    Raises:
        DataError: if ``init_scale`` has another number of entries.

    Source: Rahimi & Recht 2008, "Weighted sums of random kitchen sinks"; Belkin et al. 2019, arXiv 1812.11118.
    """
    model = mlp(
        shape,
        width=width,
        depth=depth,
        activation=activation,
        bias=bias,
        bias_init=bias_init,
        init_scale=init_scale,
    )
    freeze_below(model, model.readout)
    return model
