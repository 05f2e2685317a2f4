"""Is a distribution bimodal? The dip test of unimodality.

The dip is the largest distance between a sample's distribution function and the nearest one that is unimodal. It makes
no assumption on the shape of a single mode. That is why it is used here: selectivities lie in [0, 1] and are skewed,
and a bimodality coefficient, or a mixture of two normals against one, takes a skewed single mode for two.
"""

from functools import lru_cache

import numpy as np

from clntk.errors import DataError

SIZES = (8, 16, 32, 64, 128, 256)  # of the samples that the null is simulated for


def dip(values: np.ndarray) -> float:
    """The distance of a sample's distribution function from the nearest unimodal one.

    A unimodal function is convex up to its mode, where it may jump, and concave beyond it.

    Args:
        values: shape (n,); equal values are allowed.

    Returns:
        in [1/(2n), 1/4] for values that are not all equal; 0 if they are, and NaN for none.

    Raises:
        DataError: for values that are not finite.

    Source: Hartigan & Hartigan 1985, "The dip test of unimodality", Annals of Statistics 13:70, section 5.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise DataError(
            f"dip: expected finite values, found {int((~np.isfinite(values)).sum())} that are not; leave them out"
        )
    if not values.size:
        return float("nan")
    x, counts = np.unique(values, return_counts=True)
    if len(x) == 1:
        return 0.0
    above = np.cumsum(counts) / len(values)  # the distribution function at each value
    return _outside_the_mode(x, above - counts / len(values), above) / 2


def _outside_the_mode(x: np.ndarray, below: np.ndarray, above: np.ndarray) -> float:
    """How far the distribution function is, beyond the mode, from the hulls that bound a unimodal one: twice the dip.

    The interval that holds the mode shrinks to where the two hulls, of what lies just below and just above the steps,
    are farthest apart, until they are no farther apart than the distribution function is from them outside.
    """
    farthest, first, last = 0.0, 0, len(x) - 1
    while first < last:
        part = slice(first, last + 1)
        convex, from_below = _hull(x[part], below[part], 1)
        concave, from_above = _hull(x[part], above[part], -1)
        gap = concave - convex
        knots = np.union1d(from_below, from_above)
        widest = knots[gap[knots].argmax()]
        if gap[widest] <= farthest:
            break
        left = from_below[np.searchsorted(from_below, widest, side="right") - 1]
        right = from_above[np.searchsorted(from_above, widest)]
        lower, upper = above[part][:left] - convex[:left], concave[right + 1 :] - below[part][right + 1 :]
        farthest = max(farthest, lower.max(initial=0.0), upper.max(initial=0.0))
        first, last = first + left, first + right
    return float(farthest)


def _hull(x: np.ndarray, y: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest convex function below points (``side`` 1), or the smallest concave one above them (−1).

    Args:
        x: ascending.
        y: of the points.
        side: see above.

    Returns:
        its values at ``x``, and the positions of the points that it goes through.
    """
    at, height = x.tolist(), (side * y).tolist()
    knots: list[int] = []
    for i in range(len(at)):
        while len(knots) > 1:
            a, b = knots[-2], knots[-1]
            if (height[b] - height[a]) * (at[i] - at[b]) < (height[i] - height[b]) * (at[b] - at[a]):
                break
            knots.pop()
        knots.append(i)
    return np.interp(x, x[knots], y[knots]), np.array(knots)


def dip_test(values: np.ndarray, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The dip, and its p against samples of the uniform distribution, the hardest unimodal one to tell from two modes.

    The null is simulated at the next larger of a few sizes and compared as √n · dip, whose distribution hardly depends
    on n and grows with it: so the p is, if anything, too large; beyond the largest size it is too small by next to
    nothing.

    Args:
        values: shape (n,).
        draws: of the null.
        seed: of the null.

    Returns:
        the dip as of :func:`dip`, and p in [1/(1 + draws), 1]; p is NaN for fewer than four values.

    Raises:
        DataError: as :func:`dip`.
    """
    values = np.asarray(values).ravel()
    found = dip(values)
    if len(values) < 4:
        return found, float("nan")
    null = _null(next((n for n in SIZES if n >= len(values)), SIZES[-1]), draws, seed)
    return found, float((1 + (null >= np.sqrt(len(values)) * found).sum()) / (1 + draws))


@lru_cache(maxsize=32)
def _null(n: int, draws: int, seed: int) -> np.ndarray:
    """√n · dip of uniform samples, shape (draws,)."""
    return np.sqrt(n) * np.array(
        [dip(sample) for sample in np.random.default_rng([seed, n]).random((draws, n))]
    )
