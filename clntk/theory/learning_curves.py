"""What is to be expected of tasks in sequence, over all targets that a Gaussian process may draw."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from clntk.errors import DataError
from clntk.theory.blocks import Block, refuse_negative
from clntk.theory.continual import Continual, continual_regression
from clntk.theory.schedules import Schedule
from clntk.theory.spectrum import Spectrum


def expected_regression(
    kernel: Any,
    sizes: Sequence[int],
    covariance: Any,
    schedule: Schedule | Sequence[Schedule] | None = None,
    *,
    test_kernel: Any = None,
    test_sizes: Sequence[int] = (),
    noise: float = 0.0,
    **options: Any,
) -> Continual:
    """Tasks in sequence whose targets are drawn from a Gaussian process: losses are those expected over all draws.

    Outputs are linear in targets, so that the expected ½(f − y)² is the sum of those for the columns of a square root
    of the targets' covariance. The result has one output for each column; ``losses``, ``forgetting``, ``drift`` and
    transfer are expectations for one output of the network, exact, with nothing drawn.

    Args:
        kernel: K, of all training examples, (N, N), outputs starting at 0.
        sizes: how many examples each task has.
        covariance: of the targets of all training, then all test examples, (N + M, N + M): how alike tasks are is said
            here, with −1 times, or 0 times, a kernel between examples of two tasks.
        schedule: as of :func:`~clntk.theory.continual.continual_regression`.
        test_kernel: of all test examples with all training examples, (M, N).
        test_sizes: how many test examples each task has.
        noise: variance of the training targets about the function.
        options: ``stored``, ``ridge``, ``jitter``, ``singular``.

    Raises:
        DataError: for a kernel of several outputs, sizes that do not fit, a covariance with negative eigenvalues beyond
            rounding, and as :func:`~clntk.theory.continual.continual_regression` does.

    Source: the averages over targets of Sollich 1999, "Learning curves for Gaussian processes", task after task.
    """
    own, targets = Block.of(kernel, "kernel"), Block.of(covariance, "covariance")
    n, m = sum(sizes), sum(test_sizes)
    if own.outputs or targets.outputs or targets.examples[0] != n + m:
        raise DataError(
            f"covariance: expected kernels of one output, of the {n} training and {m} test examples together, found "
            f"{targets.examples[0]} examples"
        )
    refuse_negative(noise, "noise")
    spectrum = Spectrum.of(targets, "covariance")
    root = spectrum.vectors * np.sqrt(spectrum.values)
    train = np.concatenate([root[:n], np.sqrt(noise) * np.eye(n)], axis=1)
    test = np.concatenate([root[n:], np.zeros((m, n))], axis=1)
    return continual_regression(
        kernel,
        _split(train, sizes),
        schedule,
        test_kernel=test_kernel,
        test_targets=_split(test, test_sizes) or None,
        **options,
    )


def _split(rows: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    return [rows[a:b] for a, b in pairwise(np.cumsum([0, *sizes]))]
