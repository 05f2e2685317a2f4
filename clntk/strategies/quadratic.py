"""The quadratic programme of gradient episodic memory."""

import numpy as np

RIDGE = 1e-3  # keeps the dual strictly convex


def gem_projection(memory: np.ndarray, gradient: np.ndarray, margin: float) -> np.ndarray:
    """The gradient moved as little as it takes to agree with the gradients of the memory.

    Without margin, the z nearest to g with G z ≥ 0. Solved in the dual, min_v ½ vᵀ(G Gᵀ + ε D)v + (G g)ᵀ v for v ≥ γ,
    which with v = γ + u is a non-negative least-squares problem in the Cholesky factor; then z = Gᵀ v + g. D is the
    diagonal of G Gᵀ, so that gradients are protected whatever their length; with the authors' I, those much shorter
    than √ε are not, be it late in training or under a regime that scales them down.

    Args:
        memory: G, one gradient a row.
        gradient: g.
        margin: γ ≥ 0.

    Source: Lopez-Paz & Ranzato 2017, arXiv 1706.08840, eqs. (8)–(11).
    """
    from scipy.linalg import solve_triangular
    from scipy.optimize import nnls

    gram = memory @ memory.T
    gram += np.diag(RIDGE * gram.diagonal() + np.finfo(float).tiny)  # a gradient may be 0
    lower = np.linalg.cholesky(gram)
    linear = memory @ gradient + margin * gram.sum(1)
    u, _ = nnls(lower.T, -solve_triangular(lower, linear, lower=True))
    return memory.T @ (margin + u) + gradient
