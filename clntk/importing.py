"""Imports that take seconds."""

from importlib import import_module

from clntk.collector import collector_at_rest

TRAINING = "clntk.strategies.avalanche.lean"  # brings torch and Avalanche


def import_training() -> None:
    """Import what every run needs; at once if it is there."""
    with collector_at_rest():
        import_module(TRAINING)
