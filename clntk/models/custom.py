"""A network of the user's own, by import path."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_type_hints

import torch
from pydantic import AfterValidator
from torch import nn

from clntk.errors import DataError
from clntk.python_files import used_module
from clntk.registry import register
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
        path: ``package.module:Class`` of an installed package, an ``nn.Module`` or a function annotated to return one;
            or ``file.py:Class``, relative to the working directory, of a file that ``use:`` names as well.
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
    """What the path names: of a file that the user has named, or a network of a package that is installed.

    Anything else could be anything: a protocol or a run from a stranger names it.
    """
    place, _, attribute = path.partition("@")[0].partition(":")
    if place.endswith(".py"):
        module = used_module(Path(place))
        if module is None:
            raise DataError(
                f"{where}: expected a file that is named as one of your own, found that nobody has; list {place} under "
                "use: in the protocol, or name it with --use or clntk.use()"
            )
        return _attribute(module, attribute, where)
    if not _is_installed(place.partition(".")[0]):
        raise DataError(
            f"{where}: expected something to import from an installed package, found no package of that name; for a "
            "file give file.py:Class"
        )
    try:
        found = _attribute(importlib.import_module(place), attribute, where)
    except ImportError as error:
        raise DataError(f"{where}: expected something to import, found {error}") from error
    if not _makes_networks(found):
        raise DataError(
            f"{where}: expected an nn.Module, or a function that is annotated to return one, found {found!r}; call it "
            "in a file of your own, listed under use:, and give file.py:function"
        )
    return found


@cache
def _is_installed(package: str) -> bool:
    """Whether it is of a distribution; of one that is installed to be edited, only the name is known."""
    try:
        return package in packages_distributions() or distribution(package) is not None
    except (PackageNotFoundError, ValueError):
        return False


def _attribute(module: ModuleType, name: str, where: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise DataError(f"{where}: expected something to import, found {error}") from error


def _makes_networks(found: Any) -> bool:
    """Whether it says of itself that it makes networks: all else would be called with whatever a protocol gives."""
    made = found
    if not inspect.isclass(found):
        try:
            made = get_type_hints(found).get("return")
        except (TypeError, NameError):
            return False
    return inspect.isclass(made) and issubclass(made, nn.Module)


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
