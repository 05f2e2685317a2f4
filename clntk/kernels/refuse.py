"""Networks and inputs that have no kernel, refused with the reason."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm

from clntk.errors import DataError

_NORMS = nn.modules.batchnorm._BatchNorm
_STOCHASTIC = (_NORMS, nn.modules.dropout._DropoutNd)
_MOVING = parametrizations._SpectralNorm  # a step of the power iteration with every call in training mode
_PRECISIONS = (torch.float32, torch.float64)


def refuse(model: nn.Module, *inputs: Tensor | None) -> None:
    """
    Raises:
        DataError: for an empty batch, a model without trainable parameters or of half precision, or a module whose
            output depends on the batch or on chance.
    """
    if any(x is not None and len(x) == 0 for x in inputs):
        raise DataError("empirical_ntk: expected at least one input on each side, found an empty batch")
    if not any(p.requires_grad for p in model.parameters()):
        raise DataError("empirical_ntk: expected a model with parameters that require gradients, found none")
    for name, p in model.named_parameters():
        if p.requires_grad and p.dtype not in _PRECISIONS:
            raise DataError(
                f"empirical_ntk: expected parameters in float32 or float64, found {name} in "
                f"{str(p.dtype).removeprefix('torch.')}; use model.float() or model.double()"
            )
    for name, module in model.named_modules():
        where = f"empirical_ntk: module {name!r} ({type(module).__name__})"
        if module.training and (isinstance(module, _STOCHASTIC) or _drops(module)):
            raise DataError(
                f"{where} is in training mode, so that f(x) depends on the batch or on chance and has no kernel; "
                "call model.eval() first"
            )
        if module.training and (isinstance(module, _MOVING) or _moves(module)):
            raise DataError(
                f"{where} is in training mode, so that every call changes its spectral norm and the network with it; "
                "call model.eval() first"
            )
        if isinstance(module, _NORMS) and module.running_mean is None:
            raise DataError(
                f"{where} keeps no running statistics, so that f(x) depends on the batch in eval mode too and has "
                "no kernel; use track_running_stats=True"
            )


def _drops(module: nn.Module) -> bool:
    """Whether a module drops units by itself, without a dropout module inside."""
    return isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0


def _moves(module: nn.Module) -> bool:
    """Whether a module wears torch's older spectral norm."""
    return any(isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values())


def refuse_coupled(model: nn.Module, x: Tensor) -> Tensor:
    """The logits (N, C) of a few inputs, after seeing that an example's do not depend on its neighbours.

    Raises:
        DataError: if they do, are not (examples, outputs), or are not numbers.
    """
    with torch.no_grad():
        outputs = model(x)
        if outputs.ndim != 2 or len(outputs) != len(x):
            raise DataError(
                f"empirical_ntk: expected outputs of shape (examples, outputs), found {tuple(outputs.shape)} "
                f"for {len(x)} examples"
            )
        refuse_nan(outputs)
        alone = torch.cat([model(x[i : i + 1]) for i in range(len(x))])
    if not torch.allclose(outputs, alone, rtol=1e-8, atol=1e-10):
        raise DataError(
            "empirical_ntk: an example's outputs change with the others in its batch, so that f(x) has no kernel; "
            "look for statistics over the batch (a batch-norm without running statistics, say)"
        )
    return outputs


def refuse_nan(outputs: Tensor) -> None:
    """
    Raises:
        DataError: if a logit is not a number.
    """
    lost = outputs.isnan().any(1)
    if lost.any():
        raise DataError(
            f"empirical_ntk: expected outputs that are numbers, found NaN for {int(lost.sum())} of {len(lost)} "
            "examples; look for NaN or infinity among the weights (did the training diverge?) and the inputs"
        )
