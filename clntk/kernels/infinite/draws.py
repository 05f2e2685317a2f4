"""How a layer's initial weights were drawn, from the weights: their spread, or that they are no independent draws."""

import math

import torch
from torch import Tensor

from clntk.errors import DataError

DEVIATIONS = 6.0  # standard errors of a mean beyond which it is not one of zero-mean draws
UNIT = 5.0  # standard errors within which a spread counts as 1
ALTERNATIVES = "draw it anew, or describe the network by InfiniteSpec.fully_connected or .convolutional"


@torch.no_grad()
def spread(parameter: Tensor, where: str) -> float:
    """The root mean square of entries that were drawn alike, with mean zero.

    Args:
        parameter: a weight, (outputs, *inputs), or bias, (outputs,).
        where: its name, for errors.

    Raises:
        DataError: if the mean is not zero, or the spread not the same over inputs and outputs, or the singular values
            not those of independent entries, all beyond chance: the network has no infinite-width form then.
    """
    entries = parameter.detach().double()
    rms = entries.square().mean().sqrt().item()
    if rms == 0:
        return 0.0
    if entries.numel() > 1 and abs(entries.mean().item()) * math.sqrt(entries.numel()) > DEVIATIONS * rms:
        raise _refused(where, f"entries with mean {entries.mean().item():.3g} and root mean square {rms:.3g}")
    same = entries.numel() > 2 and bool((entries == entries.flatten()[0]).all())
    if same:
        raise _refused(where, f"entries that all equal {entries.flatten()[0].item():.3g}")
    if entries.ndim > 1:
        _check_matrix(entries.flatten(1) / rms, where)
    return rms


def unit_or(rms: float, count: int) -> float:
    """1 where so many draws have a root mean square that is 1 but for chance."""
    return 1.0 if abs(rms - 1) <= UNIT / math.sqrt(2 * count) else rms


def _check_matrix(matrix: Tensor, where: str) -> None:
    """
    Raises:
        DataError: if a matrix of mean square 1 is not one of independent entries drawn alike.
    """
    kurtosis = matrix.pow(4).mean().item()
    for axis, side in ((0, "inputs"), (1, "outputs")):
        count, others = matrix.shape[1 - axis], matrix.shape[axis]
        if count < 2 or kurtosis <= 1:
            continue
        excess = others * (matrix.square().mean(axis) - 1).square().mean().item() / (kurtosis - 1)
        if excess > 1 + 5 * math.sqrt(14 / count):  # 14: the variance of the square of one χ² of one degree
            raise _refused(where, f"a spread that differs between {side}")
    n, d = matrix.shape
    sum_of_fourths = (matrix @ matrix.T).square().sum().item()  # of the singular values
    ratio = sum_of_fourths / (n * d * (n + d + kurtosis - 2))
    if abs(ratio - 1) > DEVIATIONS / math.sqrt(n * d):  # its standard error is at most 1/√(nd)
        raise _refused(
            where, "entries that depend on one another: their singular values are not those of chance"
        )


def _refused(where: str, found: str) -> DataError:
    return DataError(
        f"{where}: expected independent draws, all with mean zero and the same spread, which an infinitely wide "
        f"network needs, found {found}; {ALTERNATIVES}"
    )
