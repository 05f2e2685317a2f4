"""The kernels of infinitely wide networks, block by block."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clntk.errors import DataError
from clntk.kernels.infinite.covariance import Covariances
from clntk.kernels.infinite.layers import Convolution, Nonlinearity
from clntk.kernels.infinite.quadrature import Quadrature
from clntk.kernels.infinite.spec import InfiniteSpec

BLOCK_BYTES = 64 * 2**20
LIVE = 12  # arrays of a block's size that a layer holds at once, about

Which = Literal["nngp", "ntk"]


def infinite_nngp(
    spec: InfiniteSpec | nn.Module, x1: Tensor, x2: Tensor | None = None, *, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """The covariance of one output of an infinitely wide network at initialisation, E[f(x1_n) f(x2_m)].

    Outputs are independent and alike, so that the covariance of all C is this times the identity. Differentiable in the
    inputs: where an activation has a kink the kernel may have one too, at pairs that are parallel or zero, and the
    gradient there is a subgradient.

    Args:
        spec: the network; a module is read by :meth:`InfiniteSpec.of`.
        x1: N inputs, of any floating-point type: (N, features), or of any shape where they are flattened first, or
            (N, channels, height, width) for convolutions.
        x2: M inputs; by default ``x1``, and then the result is symmetric to the bit.
        block_bytes: bound of the intermediate arrays, as far as one pair of examples allows; with gradients, too.

    Returns:
        (N, M), in float64 on the device of ``x1``. Nothing is added to its diagonal.

    Raises:
        DataError: for a network without an infinite-width form, inputs of a wrong rank or unequal shapes, an empty
            batch, or values that are not finite.

    Source: Lee et al. 2018, arXiv 1711.00165, eq. (5); with convolutions, Novak et al. 2019, arXiv 1810.05148.
    """
    return _kernel(spec, x1, x2, "nngp", block_bytes)


def infinite_ntk(
    spec: InfiniteSpec | nn.Module, x1: Tensor, x2: Tensor | None = None, *, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """The tangent kernel of one output of an infinitely wide network, Θ(x1_n, x2_m).

    The full kernel of C outputs is Θ ⊗ I_C; mode ``trace`` of :func:`clntk.empirical_ntk` tends to C · Θ. For standard
    parametrisation, where the kernel grows with width, see :class:`InfiniteSpec`. Differentiable as
    :func:`infinite_nngp`; the kernel of ReLU has a kink where two inputs are parallel: beside it, rounding of inputs by
    ε shows as √ε.

    Args:
        spec: as in :func:`infinite_nngp`.
        x1: likewise.
        x2: likewise.
        block_bytes: likewise.

    Returns:
        (N, M), in float64 on the device of ``x1``.

    Raises:
        DataError: as :func:`infinite_nngp`.

    Source: Jacot et al. 2018, arXiv 1806.07572, theorem 1; with convolutions, Arora et al. 2019, arXiv 1904.11955,
    section 4.
    """
    return _kernel(spec, x1, x2, "ntk", block_bytes)


def _kernel(
    spec: InfiniteSpec | nn.Module, x1: Tensor, x2: Tensor | None, which: Which, block_bytes: int
) -> Tensor:
    spec = InfiniteSpec.of(spec) if isinstance(spec, nn.Module) else spec
    if not isinstance(spec, InfiniteSpec):
        raise DataError(
            f"infinite_{which}: expected an InfiniteSpec or a module, found {type(spec).__name__}"
        )
    left = _inputs(spec, x1, f"infinite_{which}.x1")
    right = left if x2 is None else _inputs(spec, x2, f"infinite_{which}.x2")
    if left.shape[1:] != right.shape[1:]:
        raise DataError(
            f"infinite_{which}.x2: expected examples of the shape of x1's, {tuple(left.shape[1:])}, found "
            f"{tuple(right.shape[1:])}"
        )
    side = max(1, math.isqrt(block_bytes // (8 * _arrays(spec, left, right) * _entries(spec, left))))

    def block(a: Tensor, b: Tensor) -> Tensor:
        return _block(spec, a, b, which)

    return _assembled(block, left, right, side, symmetric=x2 is None)


def _block(spec: InfiniteSpec, x1: Tensor, x2: Tensor, which: Which) -> Tensor:
    """The kernel of a block of pairs, layer by layer."""
    covariances = Covariances.of(x1, x2, spec.positions, tangent=which == "ntk")
    for layer in spec.layers:
        covariances = layer(covariances)
    if which == "ntk":
        assert covariances.tangent is not None  # it was asked for
        return spec.output_scale**2 * covariances.tangent
    return (0.0 if spec.centred else spec.output_scale**2) * covariances.across


def _assembled(
    block: Callable[[Tensor, Tensor], Tensor], x1: Tensor, x2: Tensor, side: int, *, symmetric: bool
) -> Tensor:
    """All blocks; of a symmetric kernel the lower ones, mirrored."""
    rows = []
    for i, left in enumerate(x1.split(side)):
        row = []
        for j, right in enumerate(x2.split(side)):
            if symmetric and j > i:
                row.append(left.new_zeros(len(left), len(right)))
            elif _followed(left, right):
                row.append(checkpoint(block, left, right, use_reentrant=False, preserve_rng_state=False))
            else:
                row.append(block(left, right))
        rows.append(torch.cat(row, 1))
    kernel = torch.cat(rows)
    return kernel.tril() + kernel.tril(-1).T if symmetric else kernel


def _arrays(spec: InfiniteSpec, *inputs: Tensor) -> int:
    """How many arrays of a block's size are held at once: with gradients, all partial sums of a series."""
    activations = [layer.activation for layer in spec.layers if isinstance(layer, Nonlinearity)]
    series = sum(2 * activation.terms for activation in activations if isinstance(activation, Quadrature))
    return LIVE + series if _followed(*inputs) else LIVE


def _followed(*inputs: Tensor) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)


def _entries(spec: InfiniteSpec, x: Tensor) -> int:
    """The most covariances of one pair of examples that a layer holds."""
    if spec.positions == "none":
        return 1
    size, most = (x.shape[2], x.shape[3]), 1
    for layer in spec.layers:
        if isinstance(layer, Convolution):
            top, bottom, left, right = layer.padding
            most = max(most, (size[0] + top + bottom) * (size[1] + left + right))
            size = layer.size(size)
    return most**2 if spec.positions == "pairs" else most


def _inputs(spec: InfiniteSpec, x: Tensor, where: str) -> Tensor:
    """The inputs in float64, (N, features) or (N, channels, H, W).

    Raises:
        DataError: for inputs that do not fit, or are not finite.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise DataError(f"{where}: expected a floating-point tensor, found {found}")
    images = spec.positions != "none"
    flat = spec.flattens and not images
    if x.ndim < 2 if flat else x.ndim != (4 if images else 2):
        expected = "(N, channels, height, width)" if images else "(N, features)"
        raise DataError(f"{where}: expected inputs of shape {expected}, found {tuple(x.shape)}")
    if x.numel() == 0:
        raise DataError(f"{where}: expected at least one input, found shape {tuple(x.shape)}")
    if not x.isfinite().all():
        raise DataError(
            f"{where}: expected finite inputs, found {int((~x.isfinite()).sum())} NaN or infinite values"
        )
    return (x.flatten(1) if flat else x).double()
