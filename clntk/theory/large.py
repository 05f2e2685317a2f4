"""Kernel regression where the kernel is too large to form."""

import copy

import torch
from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels.operator import ntk_operator
from clntk.models.linearize import linearize


def operator_regression(
    model: nn.Module,
    x: Tensor,
    targets: Tensor,
    x_test: Tensor | None = None,
    *,
    ridge: float,
    rtol: float = 1e-6,
    max_steps: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Outputs after training a network's linearisation to convergence, without its kernel.

    f(x) + J(x) Jᵀα with (K + ρI) α = y − f(X), by conjugate gradients on :func:`clntk.ntk_operator`; test outputs by
    one product with Jᵀ and one with J. The memory is that of the operator.

    Args:
        model: the network, in eval mode; left as it was found. In float32, expect residuals of 1e-6 at best.
        x: N training inputs.
        targets: y, (N, C).
        x_test: M further inputs.
        ridge: ρ ≥ 0, as of :func:`~clntk.theory.dynamics.kernel_dynamics`; with 0, a singular kernel shows as a
            residual that is not reached.
        rtol, max_steps: as of :meth:`clntk.kernels.operator.NTKOperator.solve`.

    Returns:
        outputs on the training inputs, (N, C), and on the test inputs, (M, C).

    Raises:
        DataError: for targets of another shape, a negative ridge, and as :func:`clntk.ntk_operator` does.
        ClntkError: if the residual is not reached.
    """
    operator = ntk_operator(model, x)
    with torch.no_grad():
        before = model(x)
    if targets.shape != before.shape:
        raise DataError(
            f"targets: expected the shape of the outputs, {tuple(before.shape)}, found {tuple(targets.shape)}"
        )
    alpha = operator.solve(targets - before, ridge=ridge, rtol=rtol, max_steps=max_steps)
    train = before + operator.matvec(alpha.reshape(-1)).reshape(before.shape)
    return train, None if x_test is None else _moved_along(model, x, alpha, x_test)


def _moved_along(model: nn.Module, x: Tensor, alpha: Tensor, x_test: Tensor) -> Tensor:
    """f(x_test) + J(x_test) J(x)ᵀ α."""
    expansion = linearize(copy.deepcopy(model))
    theta = [p for p in expansion.network.parameters() if p.requires_grad]
    with torch.enable_grad():
        moved = torch.autograd.grad(
            expansion.network(x), theta, alpha, allow_unused=True, materialize_grads=True
        )
    with torch.no_grad():
        for parameter, step in zip(theta, moved, strict=True):
            parameter.add_(step)
        return expansion(x_test)
