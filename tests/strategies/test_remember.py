"""What plugins remember comes back as it was, from a file that holds nothing but values and tensors."""

import io
from collections import defaultdict

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.utils import ParamData

from clntk.strategies.avalanche.loader import dataset_tensors
from clntk.strategies.avalanche.remember import read, remembering, written
from clntk.strategies.saved import on_devices, with_devices


def _through_a_file(value):
    buffer = io.BytesIO()
    torch.save(written(value), buffer)
    return read(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.5, "text", {3, 1}, [1, [2, None]], {}, {1: {"a": [0.5]}, "b": {2}}, []],
    ids=str,
)
def test_plain_values_come_back_as_they_were(value):
    again = _through_a_file(value)
    assert again == value
    assert type(again) is type(value)


def test_tensors_and_arrays_come_back_bit_for_bit():
    tensor = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    again = _through_a_file({"t": tensor, "a": tensor.numpy(), "p": ParamData("w", init_tensor=tensor)})
    assert torch.equal(again["t"], tensor)
    assert isinstance(again["a"], np.ndarray)
    assert (again["a"] == tensor.numpy()).all()
    assert again["p"].name == "w"
    assert torch.equal(again["p"].data, tensor)


def test_reservoirs_come_back_with_examples_weights_and_size(stream):
    reservoir = ReservoirSamplingBuffer(7)
    reservoir.update_from_dataset(stream.benchmark.train_stream[1].dataset)
    again = _through_a_file(reservoir)
    assert again.max_size == 7
    assert torch.equal(again._buffer_weights, reservoir._buffer_weights)
    for a, b in zip(dataset_tensors(again.buffer), dataset_tensors(reservoir.buffer), strict=True):
        assert torch.equal(a, b)


def test_what_has_no_kind_is_refused():
    with pytest.raises(TypeError, match="cannot be written to a boundary: Linear"):
        written({"model": torch.nn.Linear(2, 2)})


def test_attributes_are_restored_where_they_are():
    class Inner:
        def __init__(self):
            self.counts = defaultdict(int)
            self.step = 0

    class Plugin(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.inner, self.kept, self.unsaved = Inner(), None, "as it is"

    kind = remembering(Plugin, "inner.counts", "inner.step", "kept")
    assert kind.__name__ == "Plugin"
    first, second = kind(), kind()
    first.inner.counts[4] += 2
    first.inner.step, first.kept, first.unsaved = 5, torch.ones(2), "changed"
    counts = second.inner.counts
    counts[9] += 1  # what was there goes
    second.load_state_dict(first.state_dict())
    assert second.inner.counts is counts
    assert isinstance(counts, defaultdict)
    assert counts == {4: 2}
    assert second.inner.step == 5
    assert torch.equal(second.kept, torch.ones(2))
    assert second.unsaved == "as it is"


def test_tensors_go_back_to_where_they_lay():
    value = {"a": [torch.ones(2), {3: torch.zeros(1, device="meta")}], "b": None, "c": [1.5, "text"]}
    state = with_devices(value)
    assert state["a"][1][3]["on"] == "meta"
    state["a"][1][3]["a tensor"] = torch.zeros(1)  # as a boundary comes back, read on the CPU
    again = on_devices(state)
    assert again["a"][1][3].device.type == "meta"
    assert torch.equal(again["a"][0], torch.ones(2))
    assert again["b"] is None
    assert again["c"] == [1.5, "text"]
