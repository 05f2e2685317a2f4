"""A linear mixed model with several variances, fitted so that a failure to converge is seen.

The likelihood is written out here because that of statsmodels' ``MixedLM`` cannot be trusted to its optimisers where
the best estimate of a variance is zero, as it often is with few seeds: gradient methods stop short of it and report
convergence, with standard errors half as large again; gradient-free ones divide by zero. Away from zero the two agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from clntk.stats.sample import ROUNDING

Status = Literal["converged", "boundary", "failed"]

_BOUNDS = (np.log(1e-9), np.log(1e3))  # of log variances, in units of the variance about the fixed effects
_START = 0.2  # of all variances
_ZERO = 1e-4  # share of the largest variance below which one is called zero
_FLAT = 1e-3  # slope of the log-likelihood, by log variances, that counts for nothing
_GAIN = 1e-5  # rise of the log-likelihood that counts for nothing
_ELSEWHERE = np.log([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0])  # where each variance is tried
_RESTARTS = 8


class Effect(NamedTuple):
    """A random effect: rows of one label share a draw, times their weights; all draws have one variance."""

    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Fit:
    """Fixed effects and standard errors in the order of the design, NaN where the fit failed; how it ended, and why.

    Variances are those of the random effects in their order, and then of the residual.
    """

    estimates: np.ndarray
    errors: np.ndarray
    status: Status
    note: str = ""
    variances: np.ndarray | None = None


class _Block(NamedTuple):
    """A group of rows that is independent of the others."""

    values: np.ndarray
    design: np.ndarray
    shared: (
        np.ndarray
    )  # the covariance that a variance of 1 gives: shape (random effects and residual, rows, rows)


class _Point(NamedTuple):
    """The restricted likelihood at given variances."""

    likelihood: float  # log, up to a constant
    slopes: np.ndarray  # by variance
    estimates: np.ndarray
    covariance: np.ndarray  # of the estimates


def fit_mixed(values: np.ndarray, design: np.ndarray, groups: np.ndarray, effects: Sequence[Effect]) -> Fit:
    """Fixed effects of a linear mixed model by restricted maximum likelihood (REML).

    Args:
        values: shape (rows,).
        design: shape (rows, effects), the intercept included if there is to be one.
        groups: shape (rows,); rows of different groups are independent.
        effects: the random effects, each within groups.

    Returns:
        the fit. Its status is "boundary" where some variance is estimated as zero (less than 1e-4 of the largest), and
        "failed" where the data do not determine the effects, or where the point reached is no optimum: where the
        likelihood still has a slope, or is larger elsewhere. That happens where rows fit the
        rest of the model to within a thousandth of the largest spread.

    Source: Patterson & Thompson 1971, "Recovery of inter-block information when block sizes are unequal"; Laird &
    Ware 1982, "Random-effects models for longitudinal data".
    """
    solution, _, rank, _ = np.linalg.lstsq(design, values)
    unit = np.std(values - design @ solution)
    if rank < design.shape[1]:
        return failed(design.shape[1], "the values that there are do not tell all effects apart")
    if unit <= ROUNDING * np.abs(values).max():
        return failed(design.shape[1], "nothing varies between seeds")
    rows = [groups == group for group in dict.fromkeys(groups)]
    blocks = [_Block(values[r] / unit, design[r], _shared(effects, r)) for r in rows]
    variances, optimal = _climb(blocks, len(effects) + 1)
    if not optimal:
        return failed(design.shape[1], "the optimiser did not converge")
    point = _at(blocks, variances)
    errors = np.sqrt(np.diag(point.covariance)) * unit
    zero = (variances < _ZERO * variances.max()).any()
    status: Status = "boundary" if zero else "converged"
    note = "some variance is estimated as zero or next to it" if zero else ""
    return Fit(point.estimates * unit, errors, status, note, variances * unit**2)


def failed(n: int, why: str) -> Fit:
    """No fit of n effects, and why."""
    return Fit(np.full(n, np.nan), np.full(n, np.nan), "failed", why)


def _shared(effects: Sequence[Effect], rows: np.ndarray) -> np.ndarray:
    same = [effect.labels[rows][:, None] == effect.labels[rows] for effect in effects]
    weights = [np.outer(effect.weights[rows], effect.weights[rows]) for effect in effects]
    return np.stack([s * w for s, w in zip(same, weights, strict=True)] + [np.eye(rows.sum())])


def _climb(blocks: list[_Block], n: int) -> tuple[np.ndarray, bool]:
    """The n variances of the largest likelihood, and whether they are that.

    A variance that a step has taken close to zero has no slope left, on a logarithmic scale, to climb back by: so what
    is reached is compared with points where one variance at a time is larger or smaller, and begun from again.
    """

    def descent(logs: np.ndarray) -> tuple[float, np.ndarray]:
        point = _at(blocks, np.exp(logs))
        return -point.likelihood, -point.slopes * np.exp(logs)

    logs = np.full(n, np.log(_START))
    for _ in range(_RESTARTS):
        logs = minimize(descent, logs, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * n, tol=1e-14).x
        loss, slopes = descent(logs)
        changed = [np.where(np.arange(n) == k, log, logs) for k in range(n) for log in _ELSEWHERE]
        losses = [descent(other)[0] for other in changed]
        best = int(np.argmin(losses))
        if losses[best] > loss - _GAIN and np.abs(slopes).max() < _FLAT:
            return np.exp(logs), True
        logs = changed[best] if losses[best] < loss else logs
    return np.exp(logs), False


def _at(blocks: list[_Block], variances: np.ndarray) -> _Point:
    """The likelihood with its slopes, from the precision of each block.

    With P = V⁻¹ − V⁻¹X(XᵀV⁻¹X)⁻¹XᵀV⁻¹, the slope by a variance whose share of V is G is ½(yᵀPGPy − tr PG).
    """
    p = blocks[0].design.shape[1]
    products, determinant = np.zeros((p + 1, p + 1)), 0.0
    solved = []
    for block in blocks:
        factor = cho_factor(np.tensordot(variances, block.shared, 1), lower=True)
        determinant += 2 * np.log(np.diag(factor[0])).sum()
        both = np.column_stack([block.design, block.values])
        solved.append((block, cho_solve(factor, both), cho_solve(factor, np.eye(len(both)))))
        products += both.T @ solved[-1][1]
    covariance = np.linalg.inv(products[:p, :p])
    estimates = covariance @ products[:p, p]
    slopes = np.zeros(len(variances))
    for block, both, precision in solved:
        whitened, design = both[:, p] - both[:, :p] @ estimates, both[:, :p]
        projected = precision - design @ covariance @ design.T
        slopes += 0.5 * np.einsum("kij,ij->k", block.shared, np.outer(whitened, whitened) - projected)
    fit = products[p, p] - products[p, :p] @ estimates
    likelihood = -0.5 * (determinant + np.linalg.slogdet(products[:p, :p])[1] + fit)
    return _Point(float(likelihood), slopes, estimates, covariance)
