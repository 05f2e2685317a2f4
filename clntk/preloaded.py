"""What workers need to train, imported once by the process that they are forked from."""

import atexit
import gc
import os
from importlib import import_module

from clntk.collector import collector_at_rest
from clntk.importing import import_training


def _leave(process: int) -> None:
    """End at once: the interpreter would take a second to tear down what it has imported."""
    if os.getpid() == process:  # not in one forked from it
        os._exit(0)


with collector_at_rest():
    import_training()
    for name in ("clntk.runs.carry_out", "distributed.nanny"):
        import_module(name)
    gc.freeze()  # none of it is ever garbage
atexit.register(_leave, os.getpid())
