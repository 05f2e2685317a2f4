"""An infinitely wide network read off a finite one."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels.infinite.activations import activation_of
from clntk.kernels.infinite.draws import spread, unit_or
from clntk.kernels.infinite.layers import Convolution, Dense, Flatten, Layer, MeanPool, Nonlinearity, Weights
from clntk.kernels.infinite.spec import InfiniteSpec
from clntk.models.linearize import Linearized

HAVE = "linear layers, convolutions, scalar activations, flattening and the mean over positions, one after another"
_CENTRED = "output_scale.CentredOutput"
_SCALED = (_CENTRED, "output_scale.ScaledOutput")
_WRAPPERS = (*_SCALED, "frozen_features.FrozenFeatures")  # of a whole network


# what is read of the modules that regimes make
class _Wrapper(Protocol):
    network: nn.Module


class _Scaled(Protocol):
    alpha: float


class _Rescaled(Protocol):
    inner: Tensor
    outer: Tensor


def read(model: nn.Module) -> InfiniteSpec:
    """The infinitely wide twin of a freshly initialised network.

    The network is of the models ``mlp``, ``deep_linear``, ``random_features`` or ``cnn``, or built alike, under the
    regimes ``standard``, ``init_scale``, ``ntk_parametrization``, ``frozen_features``, ``linearized``, or
    ``output_scale``, which makes the tangent kernel α² as large and the NNGP zero. σ_w and σ_b are the spread of the
    weights and biases as drawn: that is the model's own, to a relative 1/√(2 · number of weights); in NTK
    parametrisation with given σ they are σ exactly. Under ``standard`` the tangent kernel is that of the network's own
    widths (see :class:`InfiniteSpec`). Frozen parameters have no part in it.

    Args:
        model: torch's own modules in ``nn.Sequential``, to any depth of nesting; activations may be any module without
            parameters that acts on each entry alone.

    Raises:
        DataError: for a part without an infinite-width form, or weights that are not independent draws.
    """
    name, scale, centred = "", 1.0, False
    while (wrapper := _regime_class(model)) in _WRAPPERS or isinstance(model, Linearized):
        if wrapper in _SCALED:
            _refuse_mean_field(model, name)
            scale, centred = scale * cast(_Scaled, model).alpha, True
        model, name = cast(_Wrapper, model).network, f"{name}.network".lstrip(".")
    _refuse_shared(model)
    layers: list[Layer] = []
    for place, module in _parts(model, name):
        layers += _layer(module, f"infinite width, module {place!r} ({type(module).__name__})")
    return InfiniteSpec(tuple(layers), scale, centred)


def _parts(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules that data pass through, in order."""
    if type(module) is nn.Sequential:
        for child, part in module._modules.items():  # not named_children, which skips a module it has seen
            yield from _parts(part, f"{name}.{child}".lstrip("."))
    else:
        yield name, module


def _layer(module: nn.Module, where: str) -> list[Layer]:
    """
    Raises:
        DataError: for a module without an infinite-width form.
    """
    if type(module) is nn.Identity:
        return []
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return [Flatten()]
    if type(module) is nn.AdaptiveAvgPool2d and module.output_size in (1, (1, 1)):
        return [MeanPool()]
    factors = _factors(module)
    map_ = module if factors is None else module.layer
    if type(map_) is nn.Linear:
        return [Dense(_weights(map_, factors, where))]
    if type(map_) is nn.Conv2d:
        return [_convolution(map_, _weights(map_, factors, where), where)]
    stochastic = isinstance(module, nn.modules.dropout._DropoutNd)
    if stochastic or any(True for _ in module.children()) or module.state_dict():
        raise DataError(f"{where}: expected {HAVE}; it has no infinite-width form here")
    return [Nonlinearity(activation_of(module, where))]


@dataclass(frozen=True)
class _Factors:
    """What multiplies a layer's weight and bias in the forward pass."""

    weight: float
    bias: float


def _regime_class(module: nn.Module) -> str:
    """The class of a module that a regime made, as ``file.Class``; regimes lie beside kernels, which import none."""
    home, _, file = type(module).__module__.rpartition(".")
    return f"{file}.{type(module).__qualname__}" if home == "clntk.regimes" else ""


def _factors(module: nn.Module) -> _Factors | None:
    """Those of a layer that a regime has rescaled; null for any other module."""
    if _regime_class(module) != "rescale.Rescaled":
        return None
    found = cast(_Rescaled, module)
    return _Factors(float(found.inner * found.outer), float(found.outer))


def _weights(layer: nn.Linear | nn.Conv2d, factors: _Factors | None, where: str) -> Weights:
    """
    Raises:
        DataError: for weights that are not independent draws, or rescaled otherwise than by NTK parametrisation.
    """
    owned = dict(layer.named_parameters(recurse=False))
    if "weight" not in owned:
        raise DataError(
            f"{where}: expected a weight of its own, found one that is computed; "
            "it has no infinite-width form"
        )
    weight, bias = layer.weight, layer.bias
    drawn_w = spread(weight, f"{where}, weight")
    drawn_b = 0.0 if bias is None else spread(bias, f"{where}, bias")
    fan_in = math.prod(weight.shape[1:])
    factor_w, factor_b = (1.0, 1.0) if factors is None else (factors.weight, factors.bias)
    if factors is not None:
        drawn_w = unit_or(drawn_w, weight.numel())
        drawn_b = 0.0 if bias is None else drawn_b and unit_or(drawn_b, bias.numel())
        if drawn_w not in (0.0, 1.0):
            raise DataError(
                f"{where}: expected unit weights, as in NTK parametrisation, found a root mean square of {drawn_w:.3g} "
                "under a factor: in other parametrisations, such as mup, the kernel moves at any width; take standard "
                "or ntk_parametrization"
            )
    return Weights(
        sigma_w=factor_w * drawn_w * math.sqrt(fan_in),
        sigma_b=factor_b * drawn_b,
        weight_gain=factor_w**2 * fan_in if weight.requires_grad else 0.0,
        bias_gain=factor_b**2 if bias is not None and bias.requires_grad else 0.0,
    )


def _convolution(layer: nn.Conv2d, weights: Weights, where: str) -> Convolution:
    """
    Raises:
        DataError: for groups, dilation, or padding other than with zeros.
    """
    found = {"groups": layer.groups, "dilation": layer.dilation, "padding_mode": layer.padding_mode}
    for option, plain in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
        if found[option] != plain:
            raise DataError(
                f"{where}: expected {option} {plain!r}, found {found[option]!r}; it has no infinite-width form here"
            )
    if layer.padding == "same":  # an odd zero goes behind, as torch does it
        (top, bottom), (left, right) = (((k - 1) // 2, k // 2) for k in layer.kernel_size)
    elif isinstance(layer.padding, str):  # "valid"
        top = bottom = left = right = 0
    else:
        (top, left), (bottom, right) = layer.padding, layer.padding
    (height, width), (down, across) = layer.kernel_size, layer.stride
    return Convolution(weights, (height, width), (down, across), (top, bottom, left, right))


def _refuse_mean_field(model: nn.Module, name: str) -> None:
    """
    Raises:
        DataError: for a scaled output that is not α (g(x; θ) − g(x; θ₀)) with a constant α.
    """
    if _regime_class(model) != _CENTRED or any(
        _factors(m) is not None for m in cast(_Wrapper, model).network.modules()
    ):
        raise DataError(
            f"infinite width, module {name!r} ({type(model).__name__}): expected a network whose kernel stays where it "
            "starts as the width grows, found mean-field scaling, whose features move at any width; take standard, "
            "ntk_parametrization or output_scale"
        )


def _refuse_shared(model: nn.Module) -> None:
    """
    Raises:
        DataError: for a parameter that is used in several places.
    """
    uses = Counter(id(p) for _, part in _parts(model, "") for p in part.parameters())
    for name, parameter in model.named_parameters():
        if uses[id(parameter)] > 1:
            raise DataError(
                f"infinite width: expected each parameter in one layer, found {name} in several; untie them"
            )
