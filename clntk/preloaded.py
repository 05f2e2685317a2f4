"""What workers need to train, imported once by the process that they are forked from."""

import gc
from importlib import import_module

from clntk.importing import collector_at_rest, import_training

with collector_at_rest():
    import_training()
    for name in ("clntk.runs.carry_out", "distributed.nanny"):
        import_module(name)
gc.freeze()  # none of it is ever garbage
