"""A network of the user's own, by import path."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import nn

from clntk.errors import DataError
from clntk.registry import load_file, register
from clntk.shape import TaskShape

DIGEST = 10  # hexadecimal digits of a file's content that are kept with its name


def _pinned(path: str) -> str:
    """The path, for a file with the digest of its content: changed code makes another run.

    Raises:
        ValueError: if it names no attribute, no file, or a file that has changed since it was pinned.
    """
    place, colon, attribute = path.partition(":")
    attribute, _, pinned = attribute.partition("@")
    if not (place and colon and attribute):
        raise ValueError("package.module:Class or file.py:Class")
    if not place.endswith(".py"):
        return path
    if not Path(place).is_file():
        raise ValueError(f"a file that exists (paths are relative to {Path.cwd()})")
    digest = hashlib.sha256(Path(place).read_bytes()).hexdigest()[:DIGEST]
    if pinned not in ("", digest):
        raise ValueError(f"the file that the run was started with, not one changed since (now @{digest})")
    return f"{place}:{attribute}@{digest}"


@register("model", example={"path": "clntk.models.mlp:mlp"})
def custom(
    shape: TaskShape,
    *,
    path: Annotated[str, AfterValidator(_pinned)],
    kwargs: dict[str, Any] = {},  # noqa: B006 (a default that is only read)
) -> nn.Module:
    """A network of your own: any class or function, by import path, that makes an ``nn.Module``.

    It is called with ``kwargs``, and with ``shape`` (``shape.inputs``, ``shape.outputs``) if it has a parameter of that
    name. Its output must be (N, outputs) logits. A file's content is part of a run's identity, that of an installed
    package is not.

    Args:
        shape: shape of the inputs and number of outputs.
        path: ``package.module:Class``, or ``file.py:Class`` relative to the working directory.
        kwargs: its further arguments.

    Raises:
        DataError: if it cannot be imported or called, makes no module with trainable parameters, or its output has
            another shape.
    """
    where = f"model custom, {path}"
    make = _imported(path, where)
    try:
        takes_shape = "shape" in inspect.signature(make).parameters
        network = make(**kwargs, **({"shape": shape} if takes_shape else {}))
    except Exception as error:
        raise DataError(
            f"{where}: expected a call with {kwargs} to make a network, found {type(error).__name__}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise DataError(f"{where}: expected it to make an nn.Module, found {type(network).__name__}")
    _check_outputs(network, shape, where)
    if not any(p.requires_grad for p in network.parameters()):
        raise DataError(f"{where}: expected parameters that require gradients, found none")
    return network


def _imported(path: str, where: str) -> Callable[..., Any]:
    place, _, attribute = path.partition("@")[0].partition(":")
    try:
        if place.endswith(".py"):
            file = Path(place).resolve()
            content = hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()
            module = load_file(file, f"clntk_used_{file.stem}_{content[:16]}")
        else:
            module = importlib.import_module(place)
        return getattr(module, attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"{where}: expected something to import, found {error}") from error


@torch.no_grad()
def _check_outputs(network: nn.Module, shape: TaskShape, where: str) -> None:
    """Pass two examples of noise through it, in eval mode, leaving modes as they were."""
    modes = [(module, module.training) for module in network.modules()]
    x = torch.randn(2, *shape.inputs, generator=torch.Generator().manual_seed(0))
    network.eval()
    try:
        outputs = network(x)
    except Exception as error:
        raise DataError(
            f"{where}: expected a network for inputs of shape {shape.inputs}, found {type(error).__name__}: {error}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if found != (2, shape.outputs):
        raise DataError(
            f"{where}: expected outputs of shape (2, {shape.outputs}) for 2 examples, found {found}"
        )
