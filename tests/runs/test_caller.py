"""A script that runs protocols goes on as if it had not."""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import clntk
from clntk.runs.boundary import seed_generators
from clntk.runs.events import What


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("interrupted", [False, True])
def test_the_callers_generators_go_on_as_if_nothing_had_been_drawn(
    together, interrupted, write_protocol, tmp_path
):
    def drawn():
        return torch.rand(2).tolist(), np.random.random(2).tolist(), random.random()  # noqa: NPY002

    def stop(event):
        if interrupted and event.what is What.BOUNDARY:
            raise KeyboardInterrupt

    seed_generators(3)
    expected = drawn()
    seed_generators(3)
    with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
        clntk.run(
            write_protocol(tmp_path), ["seeds=2"], store=tmp_path / "r", together=together, listener=stop
        )
    assert drawn() == expected
