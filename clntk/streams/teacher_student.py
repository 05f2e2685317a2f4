"""Regression on two-layer teachers whose features and read-outs are alike to a set degree."""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from clntk.errors import DataError
from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import Angles, TaskStream
from clntk.streams.draws import draws
from clntk.streams.images import AtLeastTwo, Positive
from clntk.streams.planted import frame, planted_tasks, turned

Activation = Literal["erf", "relu"]
Similarity = Annotated[float, Field(ge=-1, le=1)]
Teacher = tuple[np.ndarray, np.ndarray]


@register("stream")
def teacher_student(
    seeds: Seeds,
    *,
    n_tasks: AtLeastTwo = 2,
    n_features: AtLeastTwo = 20,
    n_hidden: Positive = 2,
    feature_similarity: Similarity = 0.5,
    readout_similarity: Similarity = 1.0,
    activation: Activation = "erf",
    noise: Annotated[float, Field(ge=0)] = 0.0,
    n_train: Positive = 400,
    n_test: Positive = 400,
    n_probe: Positive = 32,
) -> TaskStream:
    """Regression on two-layer teachers f_t(x) = Σ_m v_tm g(w_tm · x), as alike from task to task as asked.

    Inputs are N(0, I). A teacher's features w_tm are orthonormal over m and its read-out v_t has norm 1. From one
    task to the next, each feature has the cosine ``feature_similarity`` with its successor and 0 with all others, and
    the read-outs have the cosine ``readout_similarity``; with more than two tasks, each turns on in its plane. The
    stream's ``task_angle`` is that between teachers as functions: arccos of E f_s f_t / √(E f_s² E f_t²).

    Args:
        seeds: the run's generators; teachers and examples change with the seed.
        n_tasks: number of tasks.
        n_features: inputs.
        n_hidden: features of a teacher, at most half as many as inputs.
        feature_similarity: cosine between matching features of consecutive teachers.
        readout_similarity: cosine between read-outs of consecutive teachers; 1 or −1 where ``n_hidden`` is 1.
        activation: g, erf(z/√2) or relu.
        noise: standard deviation of the noise on training targets.
        n_train: training examples of each task.
        n_test: test examples of each task.
        n_probe: probes of each task, drawn from its test set.

    Raises:
        DataError: for too many hidden units, or a read-out similarity that one hidden unit cannot have.

    Source: Lee, Goldt & Saxe 2021, arXiv 2107.04384.
    """
    if 2 * n_hidden > n_features:
        raise DataError(
            f"n_hidden: expected at most half of {n_features} inputs, so that features can differ, found {n_hidden}"
        )
    if n_hidden == 1 and abs(readout_similarity) != 1:
        raise DataError(
            "readout_similarity: expected 1 or -1 where n_hidden is 1: a single number has no angle, "
            f"found {readout_similarity}"
        )
    similarity = (feature_similarity, readout_similarity)
    drawn = teachers(n_tasks, n_features, n_hidden, similarity, draws(seeds, "teachers"))

    def sample(t: int, part: str, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = generator.standard_normal((n, n_features))
        clean = taught(x, drawn[t], activation)
        return x, clean + (noise * generator.standard_normal(clean.shape) if part == "train" else 0)

    names = [f"task{t}" for t in range(n_tasks)]
    tasks = planted_tasks(seeds, names, sample, n_train=n_train, n_test=n_test, n_probe=n_probe)
    return TaskStream(tasks, outputs=1, target="value", angles=function_angles(drawn, activation))


def teachers(
    n_tasks: int,
    n_features: int,
    n_hidden: int,
    similarity: tuple[float, float],
    generator: np.random.Generator,
) -> list[Teacher]:
    """Features (inputs × hidden) and read-out (hidden,) of each teacher; similarity of features, then of read-outs."""
    features, others = np.split(frame(n_features, 2 * n_hidden, generator), 2, axis=1)
    # one hidden unit's read-out turns by 0° or 180° alone, which needs no second direction
    readout, other = frame(n_hidden, 2, generator).T if n_hidden > 1 else (np.ones(1), np.zeros(1))
    steps = np.rad2deg(np.arccos(similarity))
    return [
        (turned(features, others, steps[0] * t), turned(readout, other, steps[1] * t)) for t in range(n_tasks)
    ]


def taught(x: np.ndarray, teacher: Teacher, activation: Activation) -> np.ndarray:
    """The teacher's answers (examples × 1)."""
    from scipy.special import erf

    features, readout = teacher
    z = x @ features
    hidden = erf(z / math.sqrt(2)) if activation == "erf" else np.maximum(z, 0)
    return hidden @ readout[:, None]


def function_angles(drawn: list[Teacher], activation: Activation) -> Angles:
    """The angle in degrees between each two teachers as functions of N(0, I) inputs.

    Source: E g(u)g(v) for unit Gaussians of correlation ρ is (2/π) arcsin(ρ/2) for erf (Williams 1997) and
    (√(1 − ρ²) + ρ(π − arccos ρ))/2π for relu (Cho & Saul 2009).
    """
    products = np.array([[_product(a, b, activation) for b in drawn] for a in drawn])
    norms = np.sqrt(np.diag(products))
    angles = np.rad2deg(np.arccos(np.clip(products / np.outer(norms, norms), -1, 1)))
    np.fill_diagonal(angles, 0)
    return tuple(map(tuple, angles.tolist()))


def _product(a: Teacher, b: Teacher, activation: Activation) -> float:
    rho = np.clip(a[0].T @ b[0], -1, 1)
    if activation == "erf":
        kernel = 2 / math.pi * np.arcsin(rho / 2)
    else:
        kernel = (np.sqrt(1 - rho**2) + rho * (math.pi - np.arccos(rho))) / (2 * math.pi)
    return float(a[1] @ kernel @ b[1])
