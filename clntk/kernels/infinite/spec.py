"""The description of an infinitely wide network."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels.infinite.activations import Activation, activation_of
from clntk.kernels.infinite.arguments import at_least, each, fan_in_of_each, one_of, sigma_of_each, unused
from clntk.kernels.infinite.covariance import Positions
from clntk.kernels.infinite.layers import (
    Convolution,
    Dense,
    Flatten,
    Layer,
    MeanPool,
    Nonlinearity,
    Weights,
)

Parametrization = Literal["ntk", "standard"]
Function = str | Activation | nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InfiniteSpec:
    """A network whose hidden layers are infinitely wide, as the layers that its kernels pass through.

    Make one with :meth:`fully_connected` or :meth:`convolutional`, or read it off a network with :meth:`of`. In NTK
    parametrisation, y = σ_w/√fan-in W x + σ_b b with unit-normal parameters, the kernels are limits. In the standard
    one, y = W x + b, the tangent kernel grows with the width n and has no limit. It is then the kernel of a network of
    the widths given, to leading order: a layer's weights count fan-in times, its biases once, and the ratio of the
    empirical kernel to it tends to 1. Divided by n it tends to the share of the layers behind hidden units alone. (The
    "improved standard parametrisation" with these widths for N has this kernel, too.)

    Args:
        layers: from inputs to read-out, which is a :class:`~clntk.kernels.infinite.layers.Dense`.
        output_scale: a constant factor on the output.
        centred: whether the output at initialisation is subtracted, so that it starts at zero.

    Raises:
        DataError: for layers that do not follow from one another.

    Source: Lee et al. 2018, arXiv 1711.00165 (NNGP); Jacot et al. 2018, arXiv 1806.07572 (NTK); Arora et al. 2019,
    arXiv 1904.11955 (convolutions); Sohl-Dickstein et al. 2020, arXiv 2001.07301 (standard parametrisation).
    """

    layers: tuple[Layer, ...]
    output_scale: float = 1.0
    centred: bool = False

    def __post_init__(self) -> None:
        _check_order(self.layers)

    @property
    def positions(self) -> Positions:
        """Which positions of images the covariances must keep."""
        if not any(isinstance(layer, Convolution) for layer in self.layers):
            return "none"
        return "pairs" if any(isinstance(layer, MeanPool) for layer in self.layers) else "same"

    @property
    def flattens(self) -> bool:
        """Whether inputs of any shape are flattened first."""
        return isinstance(self.layers[0], Flatten)

    @classmethod
    def fully_connected(
        cls,
        *,
        depth: int = 2,
        activation: Function | Sequence[Function] = "relu",
        sigma_w: float | Sequence[float] = math.sqrt(2.0),
        sigma_b: float | Sequence[float] | None = None,
        parametrization: Parametrization = "ntk",
        width: int | Sequence[int] | None = None,
        inputs: int | None = None,
    ) -> "InfiniteSpec":
        """``depth`` hidden layers, then a linear read-out; inputs of any shape are flattened.

        Args:
            depth: number of hidden layers.
            activation: of all hidden layers, or one for each: ``relu``, ``leaky_relu`` (slope .01), ``identity``,
                ``erf``, ``gelu``, ``tanh``, ``sigmoid``, ``softplus``, a module, or any function of a tensor that acts
                on each entry alone (by quadrature).
            sigma_w: σ_w of all layers, or one for each (read-out last).
            sigma_b: σ_b, likewise; null for no biases, 0 for biases that start at zero: they are trained, but only in
                standard parametrisation does the tangent kernel show it.
            parametrization: ``ntk`` or ``standard``.
            width: units of all hidden layers, or of each; in standard parametrisation only.
            inputs: number of inputs; in standard parametrisation only.

        Raises:
            DataError: for a wrong number of entries, an unknown activation, a negative σ, or a width that is missing or
                not used.
        """
        where = "InfiniteSpec.fully_connected"
        at_least(where, 0, depth=depth)
        sigmas = sigma_of_each(sigma_w, sigma_b, depth + 1, where)
        if parametrization == "ntk":
            unused(where, width=width, inputs=inputs)
            weights = [Weights.ntk(*sigma) for sigma in sigmas]
        else:
            one_of(f"{where}.parametrization", parametrization, get_args(Parametrization))
            fan_ins = fan_in_of_each(where, depth, width=width, inputs=inputs)
            weights = [
                Weights.standard(*sigma, fan_in) for sigma, fan_in in zip(sigmas, fan_ins, strict=True)
            ]
        layers: list[Layer] = [Flatten()]
        for weight, function in zip(weights, each(activation, depth, f"{where}.activation"), strict=False):
            layers += [Dense(weight), Nonlinearity(activation_of(function, f"{where}.activation"))]
        return cls((*layers, Dense(weights[-1])))

    @classmethod
    def convolutional(
        cls,
        *,
        depth: int = 2,
        kernel: int = 3,
        stride: int = 1,
        padding: Literal["same", "valid"] = "same",
        pooling: Literal["mean", "flatten"] = "mean",
        activation: Function | Sequence[Function] = "relu",
        sigma_w: float | Sequence[float] = math.sqrt(2.0),
        sigma_b: float | Sequence[float] | None = None,
    ) -> "InfiniteSpec":
        """``depth`` convolutions of images (channels, height, width), pooling over positions, then a linear read-out.

        In NTK parametrisation; for the standard one, read a network with :meth:`of`.

        Args:
            depth: number of convolutions.
            kernel: side of their kernels.
            stride: of each.
            padding: ``same`` pads half a kernel with zeros on each side, as the model ``cnn`` does, so that a stride of
                1 keeps the size of an odd kernel's image; ``valid`` pads nothing.
            pooling: before the read-out, the mean over positions, or none: all positions read out on their own.
            activation: as in :meth:`fully_connected`.
            sigma_w: likewise.
            sigma_b: likewise.

        Raises:
            DataError: as :meth:`fully_connected`.
        """
        where = "InfiniteSpec.convolutional"
        one_of(f"{where}.padding", padding, ("same", "valid"))
        one_of(f"{where}.pooling", pooling, ("mean", "flatten"))
        at_least(where, 1, depth=depth, kernel=kernel, stride=stride)
        weights = [Weights.ntk(*sigma) for sigma in sigma_of_each(sigma_w, sigma_b, depth + 1, where)]
        pad = (kernel // 2 if padding == "same" else 0,) * 4
        layers: list[Layer] = []
        for weight, function in zip(weights, each(activation, depth, f"{where}.activation"), strict=False):
            layers.append(Convolution(weight, (kernel, kernel), (stride, stride), pad))
            layers.append(Nonlinearity(activation_of(function, f"{where}.activation")))
        layers.append(MeanPool() if pooling == "mean" else Flatten())
        return cls((*layers, Dense(weights[-1])))

    @classmethod
    def of(cls, model: nn.Module) -> "InfiniteSpec":
        """The infinitely wide twin of a freshly initialised network: see :func:`clntk.kernels.infinite.read.read`."""
        from clntk.kernels.infinite.read import read

        return read(model)


def _check_order(layers: tuple[Layer, ...]) -> None:
    """
    Raises:
        DataError: for the first layer that cannot follow those before it.
    """
    images = any(isinstance(layer, Convolution) for layer in layers)
    seen = False
    for number, layer in enumerate(layers, start=1):
        problem = ""
        if isinstance(layer, Convolution | MeanPool) and not images:
            problem = "needs images, which flat layers before it do not leave"
        elif isinstance(layer, Dense) and images:
            problem = "needs flat inputs; put Flatten or MeanPool before it"
        elif isinstance(layer, Nonlinearity) and not seen:
            problem = "acts on the inputs themselves, which are not Gaussian; put it behind a first layer"
        if problem:
            raise DataError(f"InfiniteSpec.layers: layer {number} ({type(layer).__name__}) {problem}")
        images = images and not isinstance(layer, Flatten | MeanPool)
        seen = seen or isinstance(layer, Dense | Convolution)
    if not layers or not isinstance(layers[-1], Dense):
        found = type(layers[-1]).__name__ if layers else "no layers"
        raise DataError(f"InfiniteSpec.layers: expected a linear read-out (Dense) at the end, found {found}")
