"""A kernel too large for the free memory is refused before the examples are passed through."""

import numpy as np
import pytest
from test_rules import reference
from test_stored import C, N, inputs, net

import clntk
from clntk.errors import DataError


def _watched(model):
    """The numbers of examples that a model has seen at once."""
    seen = []

    def watch(module, arguments, output):
        seen.append(len(arguments[0]))

    model.register_forward_hook(watch)
    return seen


# of one example: inputs with a column for the bias, and three outputs' gradients, of both layers; in 8 bytes each
BESIDE = N * ((5 + 3 * 5) + (6 + 3 * 3)) * 8
SIZES = {"full": (N * C) ** 2 * 8, "trace": N * N * 8, "sum_logits": N * N * 8, "diag": N * C * 8}
WORDS = {"full": "3.53 kB", "trace": "392 B", "sum_logits": "392 B", "diag": "168 B"}


@pytest.mark.parametrize("mode", SIZES)
def test_too_small_a_memory_is_refused_before_the_examples_are_passed_through(monkeypatch, mode):
    model, x = net(), inputs()
    free = SIZES[mode] + BESIDE
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: free - 1)
    seen = _watched(model)
    with pytest.raises(
        DataError, match=rf"found one of {WORDS[mode]}, and 1.96 kB beside it.*out='kernel.zarr'"
    ):
        clntk.empirical_ntk(model, x, mode=mode)
    assert max(seen) <= 2
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: free)
    clntk.empirical_ntk(model, x, mode=mode)
    assert max(seen) == N


def test_layers_count_one_by_one(monkeypatch):
    free = 2 * SIZES["full"] + BESIDE
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: free - 1)
    clntk.empirical_ntk(net(), inputs())
    with pytest.raises(DataError, match="expected a kernel that fits"):
        clntk.empirical_ntk(net(), inputs(), per_layer=True)
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: free)
    assert len(clntk.empirical_ntk(net(), inputs(), per_layer=True)) == 2


def test_a_second_side_counts(monkeypatch):
    model, x1, x2 = net(), inputs(), inputs(3, seed=2)
    free = N * C * 3 * C * 8 + BESIDE * (N + 3) // N
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: free - 1)
    with pytest.raises(DataError, match=r"found one of 1.51 kB, and 2.8 kB beside it"):
        clntk.empirical_ntk(model, x1, x2)
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: free)
    clntk.empirical_ntk(model, x1, x2)


def test_on_disk_a_kernel_may_exceed_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("clntk.kernels.budget.free_memory", lambda device: 100)
    kernel = clntk.empirical_ntk(net(), inputs(), out=tmp_path / "k")
    np.testing.assert_allclose(kernel.values, reference(net(), inputs()), rtol=0, atol=1e-12)
