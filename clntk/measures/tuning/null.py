"""What selectivity a unit shows by chance: the index under permuted task labels."""

from functools import partial

import numpy as np

from clntk.measures.tuning.design import AT_ONCE, Design, PerUnit
from clntk.measures.tuning.indices import selectivity

TIE = 1e-9  # selectivities closer than this are equal: far above rounding, far below what an example changes


def permutation_null(activations: np.ndarray, design: Design, *, null: int, seed: int) -> PerUnit:
    """Every unit's selectivity against its distribution under permuted task labels.

    Cells (repeats of a stimulus in a task, or single examples) exchange their labels within pools, see
    :attr:`Design.pool`; so each task keeps its number of them. The preferred task is chosen anew in every
    permutation, as it was in the data. All units see the same permutations.

    Args:
        activations: shape (examples, unit).
        design: of these examples.
        null: number of permutations; none leave everything NaN.
        seed: of the generator that draws them.

    Returns:
        arrays of shape (unit,), NaN for dead units: ``p`` = (1 + #{null ≥ observed})/(1 + null), where what is
        within 1e-9 counts as equal; ``selectivity_null``, the mean; ``selectivity_corrected``, the observed
        index minus that mean.

    Source: Phipson & Smyth 2010, "Permutation p-values should never be zero"; Winkler et al. 2015,
    "Multi-level block permutation".
    """
    if null == 0:
        unknown = np.full(activations.shape[1], np.nan)
        return {"p": unknown, "selectivity_null": unknown.copy(), "selectivity_corrected": unknown.copy()}
    labels = permuted(design, null, np.random.default_rng(seed))
    labels = np.vstack([design.cell_task.astype(labels.dtype), labels])
    return design.for_units(partial(_compared, design=design, labels=labels), activations)


def permuted(design: Design, n: int, rng: np.random.Generator) -> np.ndarray:
    """The cells' tasks in ``n`` random orders, each within its pool, shape (n, cells)."""
    by_pool = np.argsort(design.pool, kind="stable")
    labels = np.empty((n, len(by_pool)), dtype=np.min_scalar_type(len(design.tasks)))
    step = max(1, AT_ONCE // len(by_pool))
    for start in range(0, n, step):
        rows = labels[start : start + step]
        shuffled = np.argsort(
            design.pool + rng.random(rows.shape), axis=1
        )  # pool after pool, in random order
        rows[:, by_pool] = design.cell_task[shuffled]
    return labels


def _compared(arranged: np.ndarray, *, design: Design, labels: np.ndarray) -> PerUnit:
    """The first row of labels, the observed one, against all of them: (unit,)."""
    sums = design.cell_sums(_summed_exactly(np.maximum(arranged, 0.0)))
    n_tasks, n_units = len(design.tasks), sums.shape[1]
    step = max(1, AT_ONCE // (n_tasks * max(sums.shape)))
    observed: np.ndarray | None = None
    at_least, total = np.zeros(n_units), np.zeros(n_units)
    for start in range(0, len(labels), step):
        rows = labels[start : start + step]
        members = (rows[:, None, :] == np.arange(n_tasks)[:, None]).astype(np.float64).reshape(-1, len(sums))
        mean = members @ sums
        mean /= (members @ design.cell_sizes)[:, None]
        index = selectivity(mean.reshape(len(rows), n_tasks, n_units))
        if observed is None:
            observed = index[0]
        at_least += (index >= observed - TIE).sum(axis=0)
        total += index.sum(axis=0)
    assert observed is not None  # there is a first row
    mean_null = (total - observed) / (len(labels) - 1)
    return {
        "p": np.where(np.isnan(observed), np.nan, at_least / len(labels)),
        "selectivity_null": mean_null,
        "selectivity_corrected": observed - mean_null,
    }


def _summed_exactly(rectified: np.ndarray) -> np.ndarray:
    """Each unit's values as whole numbers, by a power of two, whose sums are exact in any order.

    So the same partition of examples gives the same sums, and the null does not depend on threads, chunks or
    the order of units. Of 1000 examples, 42 binary digits below the unit's
    largest are kept.
    """
    digits = np.finfo(np.float64).nmant - int(np.ceil(np.log2(max(len(rectified), 1))))
    _, exponent = np.frexp(rectified.max(axis=0))
    return np.rint(np.ldexp(rectified, digits - exponent))


def called(p: np.ndarray, fdr: float) -> np.ndarray:
    """Which units are tuned, at a false-discovery rate; those without a p are not, and are not counted.

    Source: Benjamini & Hochberg 1995, "Controlling the false discovery rate".
    """
    from scipy.stats import false_discovery_control

    tested = ~np.isnan(p)
    tuned = np.zeros(p.shape, dtype=bool)
    if tested.any():
        tuned[tested] = false_discovery_control(p[tested]) <= fdr
    return tuned
