"""What a unit has to do with the network's outputs."""

import numpy as np

from clntk.measures.tuning.design import Design, PerUnit


def output_correlation(arranged: np.ndarray, outputs: np.ndarray, design: Design) -> PerUnit:
    """Pearson correlation of each unit with each output within tasks.

    Each task's mean is taken off both first, over all examples of all tasks together: a unit that tells only
    which task it is correlates with nothing, although outputs of different tasks have different means.

    Args:
        arranged: activations, shape (arranged examples, unit).
        outputs: shape (arranged examples, output).
        design: of these examples.

    Returns:
        ``output_correlation`` of shape (unit, output), in [−1, 1]; NaN where unit or output is constant within
        every task.
    """
    one, other = (_directions(values, design) for values in (arranged, outputs))
    return {"output_correlation": np.clip(one.T @ other, -1.0, 1.0)}


def _directions(values: np.ndarray, design: Design) -> np.ndarray:
    """The deviations from each task's mean, each column of length one, NaN if there are none."""
    blocks = (block - block[0] for block in design.by_task(values))  # exact zeros if it is constant
    deviations = np.concatenate([block - block.mean(axis=0) for block in blocks])
    scale = np.abs(deviations).max(axis=0)  # so that no square over- or underflows
    scaled = np.divide(deviations, scale, out=np.full(deviations.shape, np.nan), where=scale > 0)
    return scaled / np.linalg.norm(scaled, axis=0)
