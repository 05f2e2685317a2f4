"""Imports that take seconds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

TRAINING = "clntk.strategies.avalanche.lean"  # brings torch and Avalanche


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Imports within take a fifth less: the collector would walk through all that they make again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def import_training() -> None:
    """Import what every run needs; at once if it is there."""
    with collector_at_rest():
        import_module(TRAINING)
