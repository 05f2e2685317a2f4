"""Networks and inputs that have no kernel, refused with the reason."""

from torch import Tensor, nn

from clntk.errors import DataError

_STOCHASTIC = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def refuse(model: nn.Module, *inputs: Tensor | None) -> None:
    """
    Raises:
        DataError: for an empty batch, a model without trainable parameters, or a module whose output depends on the
            batch or on chance.
    """
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
