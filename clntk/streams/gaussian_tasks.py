"""Two Gaussian classes a task, with a set angle between the tasks' best linear rules."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import TaskStream
from clntk.streams.draws import draws
from clntk.streams.images import AtLeastTwo, Positive
from clntk.streams.planted import frame, planted_tasks, turned
from clntk.streams.rotated import turns


@dataclass(frozen=True)
class Gaussians:
    """What the examples are drawn from, class 0 at −``means`` and class 1 at +``means`` of its task.

    Args:
        means: tasks × features.
        root: features × features, symmetric: the square root of the covariance Σ that all classes share.
    """

    means: np.ndarray
    root: np.ndarray


@register("stream")
def gaussian_tasks(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 2,
    n_features: AtLeastTwo = 20,
    angle: Annotated[float, Field(ge=0, le=180)] = 90.0,
    separation: Annotated[float, Field(gt=0)] = 3.0,
    condition: Annotated[float, Field(ge=1)] = 1.0,
    n_train: Positive = 400,
    n_test: Positive = 400,
    n_probe: Positive = 32,
) -> TaskStream:
    """Two Gaussian classes a task, one covariance for all, and a set angle between the tasks' best linear rules.

    The best rule of task t is the sign of w_tᵀx with w_t ∝ Σ⁻¹μ_t for classes at ±μ_t; w_t turns by ``angle`` from
    task to task within one plane, and this is the stream's ``task_angle``. The rule errs with probability
    Φ(−separation/2) on its own task.

    Args:
        seeds: the run's generators; plane, covariance and examples change with the seed.
        n_tasks: number of tasks.
        n_features: inputs.
        angle: between the rules of consecutive tasks in degrees: 0 is the same task, 180 its labels exchanged.
        separation: Mahalanobis distance between a task's two classes.
        condition: ratio of the largest to the smallest eigenvalue of the covariance, which are evenly spaced in
            their logarithm with geometric mean 1; 1 is the identity.
        n_train: training examples of each task.
        n_test: test examples of each task.
        n_probe: probes of each task, drawn from its test set.

    Source: Bishop 2006, section 4.2.1 (shared covariance: a linear rule); the angle between tasks as in Bennani et
    al. 2020, arXiv 2006.11942.
    """
    angles = [angle * t for t in range(n_tasks)]
    drawn = gaussians(angles, n_features, separation, condition, draws(seeds, "gaussians"))

    def sample(t: int, _part: str, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = generator.integers(0, 2, size=n)
        noise = generator.standard_normal((n, n_features)) @ drawn.root
        return (2 * y - 1)[:, None] * drawn.means[t] + noise, y

    names = [f"task{t}" for t in range(n_tasks)]
    tasks = planted_tasks(seeds, names, sample, n_train=n_train, n_test=n_test, n_probe=n_probe)
    return TaskStream(tasks, outputs=2, chance=0.5, angles=turns(angles))


def gaussians(
    angles: list[float],
    n_features: int,
    separation: float,
    condition: float,
    generator: np.random.Generator,
) -> Gaussians:
    """Means and covariance for which w_t = Σ⁻¹μ_t/‖·‖ lie in one plane at these angles, and 2√(μ_tᵀΣ⁻¹μ_t) is the
    separation."""
    axes = frame(n_features, n_features, generator)
    spread = condition ** np.linspace(
        -0.25, 0.25, n_features
    )  # standard deviations: roots of the eigenvalues
    root = (axes * spread) @ axes.T
    first, second = frame(n_features, 2, generator).T
    rules = np.stack([turned(first, second, angle) for angle in angles])
    lengths = np.linalg.norm(rules @ root, axis=1, keepdims=True)  # √(wᵀΣw)
    return Gaussians(separation / 2 * rules @ root @ root / lengths, root)
