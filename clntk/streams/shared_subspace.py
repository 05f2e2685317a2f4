"""Tasks that each depend on few directions of their inputs and share some of them."""

from typing import Annotated

import numpy as np
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import TaskStream
from clntk.streams.draws import draws
from clntk.streams.images import AtLeastTwo, Positive
from clntk.streams.planted import frame, planted_tasks


@register("stream")
def shared_subspace(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 2,
    n_features: AtLeastTwo = 20,
    n_relevant: AtLeastTwo = 4,
    n_shared: Annotated[int, Field(ge=0)] = 2,
    background: Annotated[float, Field(ge=0)] = 0.1,
    n_train: Positive = 400,
    n_test: Positive = 400,
    n_probe: Positive = 32,
) -> TaskStream:
    """Tasks that each depend on d directions of their inputs, k of which are those of every other task.

    Task t has orthonormal directions U_t (features × d): k that all tasks share, d − k that are orthogonal to
    everybody else's. Inputs are U_t z + background · (I − U_tU_tᵀ) ε with z and ε N(0, I), and the class is the
    largest of the d numbers z = U_tᵀx. The principal angles between two tasks' subspaces are k times 0° and d − k
    times 90°; the stream's ``task_angle`` is their mean. With background 1 inputs are alike in all tasks, and only
    the labels tell which directions matter.

    Args:
        seeds: the run's generators; directions and examples change with the seed.
        n_tasks: number of tasks.
        n_features: inputs, at least k + n_tasks · (d − k).
        n_relevant: d, directions that a task depends on, and its number of classes.
        n_shared: k, directions that all tasks share, at most d.
        background: standard deviation of inputs along all other directions.
        n_train: training examples of each task.
        n_test: test examples of each task.
        n_probe: probes of each task, drawn from its test set.

    Raises:
        DataError: for more shared than relevant directions, or more directions than inputs.
    """
    private = n_relevant - n_shared
    if private < 0:
        raise DataError(
            f"n_shared: expected at most the {n_relevant} relevant directions, found {n_shared}; raise n_relevant"
        )
    needed = n_shared + n_tasks * private
    if needed > n_features:
        raise DataError(
            f"n_features: expected at least {needed}, {n_shared} shared and {private} for each of {n_tasks} tasks, "
            f"found {n_features}"
        )
    directions = subspaces(n_tasks, n_features, n_relevant, n_shared, draws(seeds, "subspaces"))

    def sample(t: int, _part: str, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        z = generator.standard_normal((n, n_relevant))
        other = generator.standard_normal((n, n_features))
        other -= other @ directions[t] @ directions[t].T
        return z @ directions[t].T + background * other, z.argmax(axis=1)

    names = [f"task{t}" for t in range(n_tasks)]
    tasks = planted_tasks(seeds, names, sample, n_train=n_train, n_test=n_test, n_probe=n_probe)
    apart = 90 * private / n_relevant
    angles = tuple(tuple(0.0 if s == t else apart for t in range(n_tasks)) for s in range(n_tasks))
    return TaskStream(tasks, outputs=n_relevant, chance=1 / n_relevant, angles=angles)


def subspaces(
    n_tasks: int, n_features: int, n_relevant: int, n_shared: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Orthonormal directions of each task (features × relevant), the shared ones first."""
    private = n_relevant - n_shared
    basis = frame(n_features, n_shared + n_tasks * private, generator)
    starts = [n_shared + t * private for t in range(n_tasks)]
    return [np.hstack([basis[:, :n_shared], basis[:, start : start + private]]) for start in starts]
