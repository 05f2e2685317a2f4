"""The operator against the dense kernel."""

import numpy as np
import pytest
import torch
from torch import nn

import clntk
from clntk.errors import ClntkError, DataError


class Mixed(nn.Module):
    """Positions, a raw parameter and a normalisation: every kind of share."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.out = nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(18, 3)
        self.scale = nn.Parameter(torch.randn(6))

    def forward(self, x):
        return self.out((torch.tanh(self.norm(self.inner(x))) * self.scale).flatten(1))


@pytest.fixture(scope="module")
def dense_and_operator():
    torch.manual_seed(0)
    model, x = Mixed().double(), torch.randn(8, 3, 5, dtype=torch.float64)
    dense = clntk.empirical_ntk(model, x).reshape(24, 24)
    return dense, clntk.ntk_operator(model, x)


def test_products_diagonal_and_trace_are_the_dense_kernels(dense_and_operator):
    dense, operator = dense_and_operator
    vectors = torch.randn(24, 4, dtype=torch.float64)
    torch.testing.assert_close(operator.matmat(vectors), dense @ vectors)
    torch.testing.assert_close(operator.matvec(vectors[:, 0]), dense @ vectors[:, 0])
    torch.testing.assert_close(operator.diagonal(), dense.diagonal())
    assert operator.trace() == pytest.approx(float(dense.trace()))
    np.testing.assert_allclose(operator.as_scipy() @ np.eye(24), dense.numpy(), atol=1e-10)


def test_top_eigenpairs(dense_and_operator):
    dense, operator = dense_and_operator
    values, vectors = operator.top_eigenpairs(5)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(dense).flip(0)[:5])
    torch.testing.assert_close(dense @ vectors, vectors * values)


def test_the_solve_is_the_dense_one(dense_and_operator):
    dense, operator = dense_and_operator
    y = torch.randn(8, 3, dtype=torch.float64)
    alpha = operator.solve(y, ridge=0.1, rtol=1e-12)
    expected = torch.linalg.solve(dense + 0.1 * torch.eye(24, dtype=torch.float64), y.flatten()).view(8, 3)
    torch.testing.assert_close(alpha, expected, rtol=1e-7, atol=1e-9)


def test_the_norm_by_probes_is_within_its_error(dense_and_operator):
    dense, operator = dense_and_operator
    estimate = operator.frobenius_norm(n_probes=400)
    # four standard errors: missed once in some 16,000 seeds, and the seed is fixed
    assert abs(estimate.value - float(dense.norm())) < 4 * estimate.error
    assert 0 < estimate.error < 0.1 * estimate.value
    assert operator.frobenius_norm(n_probes=1600).error == pytest.approx(estimate.error / 2, rel=0.2)


def test_what_cannot_be_done_is_said(dense_and_operator):
    _, operator = dense_and_operator
    with pytest.raises(DataError, match=r"expected vectors of shape \(24, k\), found \(23, 1\)"):
        operator.matvec(torch.zeros(23))
    with pytest.raises(DataError, match="expected k between 1 and 23, found 24"):
        operator.top_eigenpairs(24)
    with pytest.raises(DataError, match="expected ridge of at least 0"):
        operator.solve(torch.zeros(24), ridge=-1.0)
    with pytest.raises(ClntkError, match="not reached in 2 steps; the kernel is ill-conditioned"):
        operator.solve(torch.randn(24, dtype=torch.float64), ridge=0.0, rtol=1e-14, max_steps=2)
