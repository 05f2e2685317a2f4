"""What a kernel may be asked for."""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn

from clntk.errors import DataError
from clntk.kernels.costs import METHODS

KernelMode = Literal["full", "trace", "diag", "sum_logits"]
Layout = Literal["ncmd", "cndm"]
MODES: tuple[KernelMode, ...] = ("full", "trace", "diag", "sum_logits")
LAYOUTS: tuple[Layout, ...] = ("ncmd", "cndm")


def check_choices(**choices: str) -> None:
    """
    Raises:
        DataError: for a mode, layout or method that does not exist.
    """
    known = {"mode": MODES, "layout": LAYOUTS, "method": METHODS}
    for name, value in choices.items():
        if value not in known[name]:
            raise DataError(
                f"empirical_ntk.{name}: expected one of {', '.join(known[name])}, found {value!r}"
            )


def check_combination(mode: str, x2: Tensor | None, *, per_layer: bool, stored: bool, engine: object) -> None:
    """
    Raises:
        DataError: for a second side in mode ``diag``, on disk what is small or many kernels, or an engine without disk.
    """
    if engine is not None and not stored:
        raise DataError(
            "empirical_ntk.engine: expected a folder out as well, found none; engines write tiles there"
        )
    if mode == "diag" and x2 is not None:
        raise DataError("empirical_ntk: expected x1 alone in mode diag, found x2 as well; leave it out")
    if stored and (mode == "diag" or per_layer):
        asked = "mode='diag'" if mode == "diag" else "per_layer=True"
        raise DataError(
            f"empirical_ntk.out: expected one kernel to write, found {asked}; leave out or {asked} away"
        )


def parameter_names(model: nn.Module, params: Iterable[str] | None) -> tuple[str, ...]:
    """The names given, or those of all parameters that require gradients.

    Raises:
        DataError: for a name that the model does not have, or that is frozen, or no name.
    """
    known = dict(model.named_parameters())
    if params is None:
        return tuple(name for name, p in known.items() if p.requires_grad)
    chosen = tuple(params)
    if not chosen:
        raise DataError("empirical_ntk.params: expected at least one name, found none; leave it out for all")
    for name in chosen:
        if name not in known or not known[name].requires_grad:
            trained = ", ".join(n for n, p in known.items() if p.requires_grad)
            raise DataError(
                f"empirical_ntk.params: expected names of parameters that require gradients ({trained}), found {name!r}"
            )
    return chosen
