"""Workers of this machine, as far as they can be tried without starting any."""

import subprocess
import sys

# nothing else of clntk or Dask may have been imported before: a process of its own
SCRIPT = """
from contextlib import nullcontext

import dask

from clntk.engines import local

local.warm_up = lambda: None
local._started = lambda **how: nullcontext()
for _ in range(2):
    with local.local_cluster(1, None):
        assert dask.config.get("distributed.admin.tick.interval") == "1s"
    print(dask.config.get("distributed.comm.require-encryption"), dask.config.get("distributed.admin.tick.interval"))
"""


def test_dasks_own_settings_are_back_afterwards(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "20ms"] * 2
