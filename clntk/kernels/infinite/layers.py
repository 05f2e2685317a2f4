"""The layers of an infinitely wide network, each a map of covariances."""

from dataclasses import dataclass, replace
from types import EllipsisType

from torch import Tensor
from torch.nn import functional

from clntk.errors import DataError
from clntk.kernels.infinite.activations import Activation
from clntk.kernels.infinite.covariance import Covariances

Pair = tuple[int, int]


@dataclass(frozen=True)
class Weights:
    """How a layer's effective weights and biases are drawn, and how far outputs move with its parameters.

    For y = a W x + b β with parameters W and β: effective weights a W have variance σ_w²/fan-in, effective biases b β
    variance σ_b², and the tangent kernel gains a² · fan-in · (mean of x x′) + b².

    Args:
        sigma_w: σ_w ≥ 0.
        sigma_b: σ_b ≥ 0.
        weight_gain: a² · fan-in: σ_w² in NTK parametrisation, fan-in in the standard one, 0 for frozen weights.
        bias_gain: b²: σ_b² in NTK parametrisation, 1 in the standard one, 0 for frozen or no biases.
    """

    sigma_w: float
    sigma_b: float
    weight_gain: float
    bias_gain: float

    @classmethod
    def ntk(cls, sigma_w: float, sigma_b: float | None) -> "Weights":
        """NTK parametrisation: y = σ_w/√fan-in W x + σ_b β, all entries of W and β from N(0, 1)."""
        sigma_b = sigma_b or 0.0
        return cls(sigma_w, sigma_b, sigma_w**2, sigma_b**2)

    @classmethod
    def standard(cls, sigma_w: float, sigma_b: float | None, fan_in: int) -> "Weights":
        """Standard parametrisation: y = W x + b, with W from N(0, σ_w²/fan-in) and b from N(0, σ_b²)."""
        return cls(sigma_w, sigma_b or 0.0, float(fan_in), 0.0 if sigma_b is None else 1.0)

    def __call__(self, mean: Covariances) -> Covariances:
        """After the layer, from the means of products over its inputs."""
        after = {
            name: self.sigma_w**2 * getattr(mean, name) + self.sigma_b**2
            for name in ("across", "first", "second")
        }
        if mean.tangent is None:
            return replace(mean, **after)
        tangent = self.weight_gain * mean.across + self.bias_gain + self.sigma_w**2 * mean.tangent
        return replace(mean, **after, tangent=tangent)


@dataclass(frozen=True)
class Dense:
    """A fully-connected layer."""

    weights: Weights

    def __call__(self, c: Covariances) -> Covariances:
        return self.weights(c)


@dataclass(frozen=True)
class Convolution:
    """A convolution of images with zero padding; its weights are one draw at all positions.

    Args:
        weights: its weights; fan-in is channels times the kernel's pixels.
        kernel: height and width.
        stride: down and across.
        padding: zeros above, below, left and right.
    """

    weights: Weights
    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def size(self, image: Pair) -> Pair:
        """Height and width after it.

        Raises:
            DataError: if nothing is left.
        """
        pads = self.padding[:2], self.padding[2:]
        sides = zip(image, self.kernel, self.stride, pads, strict=True)
        height, width = ((side + sum(pad) - kernel) // stride + 1 for side, kernel, stride, pad in sides)
        if min(height, width) < 1:
            raise DataError(
                f"infinite width, Convolution: expected images at least as large as the kernel {self.kernel} after "
                f"padding {self.padding}, found {image[0]} × {image[1]}; use fewer or smaller convolutions"
            )
        return height, width

    def __call__(self, c: Covariances) -> Covariances:
        return self.weights(c.each(lambda t: self._patch_means(t, c.spatial // 2)))

    def _patch_means(self, t: Tensor, images: int) -> Tensor:
        """The mean over the offsets in a patch, the same offset in one image or in both."""
        top, bottom, left, right = self.padding
        height, width = self.size((t.shape[-2], t.shape[-1]))
        t = functional.pad(t, (left, right, top, bottom) * images)
        total = t.new_zeros(())
        for down in range(self.kernel[0]):
            for along in range(self.kernel[1]):
                at = (_steps(down, self.stride[0], height), _steps(along, self.stride[1], width))
                where: tuple[EllipsisType | slice, ...] = (..., *at * images)
                total = total + t[where]
        return total / (self.kernel[0] * self.kernel[1])


def _steps(start: int, stride: int, count: int) -> slice:
    return slice(start, start + stride * (count - 1) + 1, stride)


@dataclass(frozen=True)
class Nonlinearity:
    """An activation of each unit."""

    activation: Activation

    def __call__(self, c: Covariances) -> Covariances:
        return c.through(self.activation.dual)


@dataclass(frozen=True)
class Flatten:
    """All positions of an image become inputs of the next layer; without effect on flat inputs."""

    def __call__(self, c: Covariances) -> Covariances:
        # unlike positions have weights of their own: only the same ones are correlated after the next layer
        return c.each(lambda t: t.mean((-2, -1))) if c.spatial else c


@dataclass(frozen=True)
class MeanPool:
    """The mean over all positions of an image."""

    def __call__(self, c: Covariances) -> Covariances:
        return c.each(lambda t: t.mean((-4, -3, -2, -1)))


Layer = Dense | Convolution | Nonlinearity | Flatten | MeanPool
