"""Imports that take seconds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from clntk.collector import collector_at_rest

TRAINING = "clntk.strategies.avalanche.lean"  # brings torch and Avalanche
# what these import for parts of theirs that clntk does not use, and what is looked up there as they load
UNUSED: dict[str, dict[str, Any]] = {
    "wandb": {},  # Avalanche, for pictures of confusion matrices
    "scipy.signal": {"hamming": None},  # torchmetrics, to add this for a package of sounds
}


def import_training() -> None:
    """Import what every run needs; at once if it is there."""
    with collector_at_rest(), _put_off(UNUSED):
        import_module(TRAINING)


class Later(ModuleType):
    """A module that is imported when something in it is asked for.

    Args:
        name: of the module.
        known: what can be looked up without.
    """

    def __init__(self, name: str, known: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        if name == "__file__":  # asked of every module there is, to find whose a function is
            raise AttributeError(name)
        _forget(self)
        return getattr(import_module(self.__name__), name)


@contextmanager
def _put_off(names: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Modules come when they are needed, to those who import them meanwhile; to all others, as ever."""
    put_off = {name: Later(name, known) for name, known in names.items() if name not in sys.modules}
    sys.modules.update(put_off)
    try:
        yield
    finally:
        for module in put_off.values():
            _forget(module)


def _forget(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
