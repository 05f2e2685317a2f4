"""Building blocks of streams with known ground truth: random frames, and directions turned by a set angle."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from clntk.seeding import Purpose, Seeds
from clntk.streams.base import Split, Task
from clntk.streams.draws import draw_probe, draws

Sampler = Callable[[int, str, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def frame(rows: int, columns: int, generator: np.random.Generator) -> np.ndarray:
    """A random matrix with orthonormal columns (rows × columns, columns ≤ rows), evenly distributed (Haar).

    Source: Mezzadri 2007, arXiv math-ph/0609050: QR of a Gaussian matrix with the signs of R's diagonal fixed.
    """
    q, r = np.linalg.qr(generator.standard_normal((rows, columns)))
    return q * np.sign(np.diag(r))


def turned(first: np.ndarray, second: np.ndarray, angle: float) -> np.ndarray:
    """``first`` turned towards ``second`` by an angle in degrees; with both orthonormal, exactly by that."""
    radians = np.deg2rad(angle)
    return np.cos(radians) * first + np.sin(radians) * second


def planted_tasks(
    seeds: Seeds, names: Sequence[str], sample: Sampler, *, n_train: int, n_test: int, n_probe: int
) -> tuple[Task, ...]:
    """Tasks drawn from a known rule, each set with a generator of its own: more tasks leave the first as they are.

    Args:
        seeds: the run's generators.
        names: of the tasks.
        sample: called with task index, ``"train"`` or ``"test"``, number of examples and generator; returns inputs
            and targets (integers are labels, floats are values).
        n_train, n_test: examples of each task.
        n_probe: probes of each task, drawn from its test set.
    """
    probes, tasks = seeds.torch(Purpose.PROBE), []
    for t, name in enumerate(names):
        train, test = (
            _split(*sample(t, part, n, draws(seeds, f"{part} set {t}")))
            for part, n in (("train", n_train), ("test", n_test))
        )
        tasks.append(Task(name, train, test, draw_probe(test, n_probe, probes)))
    return tuple(tasks)


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    labels = np.issubdtype(y.dtype, np.integer)
    return Split(
        torch.as_tensor(x, dtype=torch.float32),
        torch.as_tensor(y, dtype=torch.long if labels else torch.float32),
    )
