"""The empirical neural tangent kernel, computed in the most obvious way that is still usable."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clntk.errors import DataError

_STOCHASTIC = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    mode: Literal["full", "trace"] = "full",
    chunk_size: int = 256,
) -> Tensor:
    """The empirical NTK of a network's logits, K[n,c,m,d] = ⟨∂f_c(x1_n)/∂θ, ∂f_d(x2_m)/∂θ⟩.

    Gradients are taken output by output and example by example; θ are the parameters that require gradients. The
    model is left as it was found.

    Args:
        model: any module whose output is (N, C), without train-mode batch-norm or dropout.
        x1: N inputs.
        x2: M inputs; by default ``x1``.
        mode: ``full`` gives (N, C, M, C); ``trace`` the sum over outputs Σ_c K[n,c,m,c], (N, M) (the *sum*: some
            tools return the mean).
        chunk_size: examples differentiated at once; bounds the memory.

    Returns:
        The kernel, in the dtype of the parameters and on their device.

    Raises:
        DataError: for an empty batch, outputs of another rank, a module in a mode that makes f depend on the
            batch or on chance, or a model without trainable parameters.

    Source: Jacot et al. 2018, arXiv 1806.07572, eq. (4), at finite width.
    """
    if mode not in ("full", "trace"):
        raise DataError(f"empirical_ntk.mode: expected 'full' or 'trace', found {mode!r}")
    _check(model, x1, x2)
    with torch.no_grad():
        outputs = model(x1[:1])
    if outputs.ndim != 2:
        raise DataError(
            f"empirical_ntk: expected outputs of shape (examples, outputs), found {tuple(outputs.shape)}"
        )
    n_outputs = outputs.shape[1]
    first = [_jacobian(model, x1, c, chunk_size) for c in range(n_outputs)] if mode == "full" else None
    if mode == "trace":
        kernel = None
        for c in range(n_outputs):
            left = _jacobian(model, x1, c, chunk_size)
            right = left if x2 is None else _jacobian(model, x2, c, chunk_size)
            kernel = left @ right.T if kernel is None else kernel.addmm_(left, right.T)
        return kernel
    second = first if x2 is None else [_jacobian(model, x2, c, chunk_size) for c in range(n_outputs)]
    rows = [torch.stack([left @ right.T for right in second], dim=-1) for left in first]
    return torch.stack(rows, dim=1)  # (N, C, M, C)


def _jacobian(model: nn.Module, x: Tensor, output: int, chunk_size: int) -> Tensor:
    """∂f_output(x_n)/∂θ for every example: (N, parameters)."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    fixed = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    fixed |= dict(model.named_buffers())

    def logit(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, (parameters, fixed), (example[None],))[0, output]

    gradients = vmap(grad(logit), in_dims=(None, 0), chunk_size=chunk_size)(trained, x)
    return torch.cat([g.reshape(len(x), -1) for g in gradients.values()], dim=1)


def _check(model: nn.Module, *inputs: Tensor | None) -> None:
    if any(x is not None and len(x) == 0 for x in inputs):
        raise DataError("empirical_ntk: expected at least one input on each side, found an empty batch")
    if not any(p.requires_grad for p in model.parameters()):
        raise DataError("empirical_ntk: expected a model with parameters that require gradients, found none")
    for name, module in model.named_modules():
        where = f"empirical_ntk: module {name!r} ({type(module).__name__})"
        if isinstance(module, _STOCHASTIC) and module.training:
            raise DataError(
                f"{where} is in training mode, so that f(x) depends on the batch or on chance and has no kernel; "
                "call model.eval() first"
            )
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise DataError(
                f"{where} keeps no running statistics, so that f(x) depends on the batch in eval mode too and has "
                "no kernel; use track_running_stats=True"
            )
