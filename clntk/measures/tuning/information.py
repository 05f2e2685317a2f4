"""How much a unit's activation tells of the task."""

import numpy as np

from clntk.measures.tuning.design import Design

FEWEST_A_CELL = 5  # examples in each of tasks × bins, on average: fewer, and the bias correction fails
MOST_BINS = 10


def mutual_information(arranged: np.ndarray, design: Design) -> np.ndarray:
    """Mutual information, in bits, of the activation in bins with the task.

    A unit's activations are put in bins of (nearly) equal numbers of examples by their rank. Equal activations
    share their average rank and so their bin: silence stays together. There are as many bins as leave five
    examples for each of tasks × bins on average, at least 2 and at most 10. From the plug-in estimate the bias
    (K − R − T + 1)/(2N ln 2) is subtracted, of K occupied combinations of R occupied bins and T tasks, which
    leaves about a tenth of the bias where these are few. The result is not cut off at zero, so that its mean
    over untuned units is near zero, but at the entropy of the task labels, which it cannot exceed.

    Args:
        arranged: shape (arranged examples, unit); only the order of a unit's values matters.
        design: of these examples.

    Returns:
        shape (unit,); 0 for a constant unit.

    Source: Miller 1955, "Note on the bias of information estimates"; Panzeri & Treves 1996, "Analytical
    estimates of limited sampling biases in different information measures".
    """
    from scipy.special import entr

    n_tasks, n_examples = len(design.tasks), len(arranged)
    n_bins = int(np.clip(n_examples // (FEWEST_A_CELL * n_tasks), 2, MOST_BINS))
    counts = _counts(_bins(arranged, n_bins), design, n_bins)
    joint, binned, task = counts, counts.sum(axis=0), counts.sum(axis=1)
    entropies = [
        entr(part / n_examples).sum(axis=axes) for part, axes in ((joint, (0, 1)), (binned, 0), (task, 0))
    ]
    occupied = (joint > 0).sum(axis=(0, 1)) - (binned > 0).sum(axis=0) - n_tasks + 1
    plug_in = entropies[1] + entropies[2] - entropies[0]
    return np.minimum(plug_in - occupied / (2 * n_examples), entropies[2]) / np.log(2)


def _bins(values: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of each value within its column."""
    from scipy.stats import rankdata

    # twice the rank is whole, so that the division is exact; half a rank off, so that the last is in the last bin
    twice = (2 * rankdata(values, axis=0)).astype(np.int64)
    return (twice - 1) * n_bins // (2 * len(values))


def _counts(bins: np.ndarray, design: Design, n_bins: int) -> np.ndarray:
    """How many examples of a task fall into a bin, shape (task, bin, unit)."""
    shape = (len(design.tasks), n_bins, bins.shape[1])
    place = np.repeat(np.arange(shape[0]), np.diff([*design.task_starts, len(bins)]))[:, None]
    flat = np.ravel_multi_index((place, bins, np.arange(shape[2])), shape)
    return np.bincount(flat.ravel(), minlength=int(np.prod(shape))).reshape(shape)
