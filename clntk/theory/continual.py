"""Tasks in sequence under a kernel that does not move: what is learned, kept and forgotten, in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from clntk.errors import DataError
from clntk.theory.blocks import Block, array, outputs_on, refuse_negative
from clntk.theory.projection import NEGLIGIBLE, StoredGradients, left_over
from clntk.theory.schedules import GradientFlow, Schedule, Singular
from clntk.theory.spectrum import Spectrum


@dataclass(frozen=True)
class TaskHistory:
    """Outputs on the examples of every task before training and after each of T tasks.

    Args:
        outputs: for each task, (T + 1, N_s, C): row 0 at the start, row t after t tasks.
        targets: for each task, (N_s, C).
    """

    outputs: tuple[np.ndarray, ...]
    targets: tuple[np.ndarray, ...]

    @property
    def residuals(self) -> tuple[np.ndarray, ...]:
        """f − y, as ``outputs``."""
        return tuple(f - y for f, y in zip(self.outputs, self.targets, strict=True))

    @cached_property
    def losses(self) -> np.ndarray:
        """The mean over examples of ½‖f − y‖²: (T + 1, tasks)."""
        return np.stack([0.5 * np.square(r).sum(-1).mean(-1) for r in self.residuals], axis=1)

    @property
    def forgetting(self) -> np.ndarray:
        """How the loss on a task has grown since it was trained: (T, tasks), NaN where it was not trained before."""
        return self._since_trained(self.losses[1:] - np.diagonal(self.losses[1:]))

    @property
    def drift(self) -> np.ndarray:
        """‖f_t − f_s‖² on the examples of task s since it was trained: (T, tasks), NaN where it was not.

        Source: the forgetting of Doan et al. 2021, arXiv 2010.04003, definition 1.
        """
        moved = [np.square(f[1:] - f[1 + s]).sum((1, 2)) for s, f in enumerate(self.outputs)]
        return self._since_trained(np.stack(moved, axis=1))

    @property
    def backward_transfer(self) -> float:
        """How far losses have fallen since each task was trained, at the end: the mean over all tasks but the last.

        Source: BWT of Lopez-Paz & Ranzato 2017, of losses.
        """
        return float(-self.forgetting[-1, :-1].mean()) if len(self.outputs) > 1 else float("nan")

    @property
    def forward_transfer(self) -> np.ndarray:
        """How far the loss on a task had fallen when its turn came, by the tasks before it: (tasks), 0 for the first.

        Source: FWT of Lopez-Paz & Ranzato 2017, of losses.
        """
        return self.losses[0] - np.diagonal(self.losses[:-1])

    @staticmethod
    def _since_trained(values: np.ndarray) -> np.ndarray:
        rows, columns = values.shape
        return np.where(np.tri(rows, columns, k=-1, dtype=bool), values, np.nan)


@dataclass(frozen=True)
class Continual:
    """A sequence of tasks on their training examples, and on further ones.

    Args:
        train: on the training examples.
        test: on the test examples, if there are any.
    """

    train: TaskHistory
    test: TaskHistory | None = None


def continual_regression(
    kernel: Any,
    targets: Sequence[Any],
    schedule: Schedule | Sequence[Schedule] | None = None,
    *,
    start: Sequence[Any] | None = None,
    test_kernel: Any = None,
    test_targets: Sequence[Any] | None = None,
    test_start: Sequence[Any] | None = None,
    stored: StoredGradients | None = None,
    ridge: float = 0.0,
    jitter: float = 0.0,
    singular: Singular = "refuse",
) -> Continual:
    """Outputs on all tasks after each of them was trained, one after another, under a kernel that does not move.

    The closed form of :func:`~clntk.theory.dynamics.kernel_dynamics`, task after task: the residuals that task t
    meets move every example x by K(x, X_t) V_t g(Λ_t) V_tᵀ (y_t − f(X_t)). Exact for a network linear in its weights.

    Args:
        kernel: of all training examples, those of task 1 first: (N, C, N, C), or (N, N) for K ⊗ I_C; from blocks K_st
            by :func:`~clntk.theory.blocks.join_blocks`.
        targets: of each task, (N_t, C): their lengths tell the tasks apart.
        schedule: how long each task is trained, or one for each, of a single moment; by default to convergence.
        start: f₀ of each task, (N_t, C); by default 0.
        test_kernel: of all test examples, task by task, with all training examples.
        test_targets: of each task, (M_t, C).
        test_start: f₀ on these; by default 0.
        stored: projects later tasks' steps away from stored gradients (OGD, PCA-OGD); by default none are.
        ridge: ρ of a penalty ½ρ‖θ − θ_{t−1}‖² about the weights at the start of each task.
        jitter: added to the diagonal of ``kernel``, never unless asked.
        singular: as of :func:`~clntk.theory.dynamics.kernel_dynamics`, for each task's own kernel. With ``stored``,
            what a task shares with earlier ones has no kernel left, so that ``keep`` may be what is meant.

    Raises:
        DataError: as :func:`~clntk.theory.dynamics.kernel_dynamics` does, naming the task.

    Source: Bennani et al. 2020, arXiv 2006.11942, theorem 1, and theorem 2 for OGD; Doan et al. 2021, arXiv 2010.04003.
    """
    own = Block.of(kernel, "kernel")
    ys = _per_task(targets, None, own.outputs, "targets")
    outputs = ys[0].shape[1]
    train = _Examples.of(own, ys, start, outputs, "kernel")
    test = None
    if test_kernel is not None:
        cross = Block.of(test_kernel, "test_kernel")
        cross.check_like(own, "test_kernel")
        test_ys = _per_task(test_targets, None, outputs, "test_targets")
        test = _Examples.of(cross, test_ys, test_start, outputs, "test_kernel")
    refuse_negative(jitter, "jitter")
    refuse_negative(ridge, "ridge")
    train.matrix[np.diag_indices(len(train.matrix))] += jitter
    _walk(train, test, own, _schedules(schedule, len(ys)), stored, ridge, singular)
    return Continual(train.seen(), None if test is None else test.seen())


@dataclass
class _Examples:
    """Outputs on one set of examples as training goes on."""

    matrix: np.ndarray  # their kernel with all training examples
    f: np.ndarray
    targets: list[np.ndarray]
    bounds: np.ndarray  # of each task's examples
    history: list[np.ndarray]

    @classmethod
    def of(cls, block: Block, ys: list[np.ndarray], start: Any, outputs: int, where: str) -> "_Examples":
        sizes = [len(y) for y in ys]
        if sum(sizes) != block.examples[0]:
            raise DataError(
                f"{where}: expected the examples of all tasks, {' + '.join(map(str, sizes))}, found {block.examples[0]}"
            )
        f = np.concatenate(_per_task(start, sizes, outputs, "start"))
        return cls(block.matrix, f, ys, np.cumsum([0, *sizes]), [f])

    def move(self, change: np.ndarray) -> None:
        self.f = self.f + change.reshape(self.f.shape)
        self.history.append(self.f)

    def seen(self) -> TaskHistory:
        history = np.stack(self.history)
        return TaskHistory(tuple(history[:, a:b] for a, b in pairwise(self.bounds)), tuple(self.targets))


def _walk(
    train: _Examples,
    test: _Examples | None,
    own: Block,
    schedules: list[Schedule],
    stored: StoredGradients | None,
    ridge: float,
    singular: Singular,
) -> None:
    wide = own.outputs or 1
    kept = np.zeros((len(train.matrix), 0))  # combinations of gradients that no step moves along
    full = train.matrix
    zero_below = 0.0 if stored is None else NEGLIGIBLE * float(np.trace(full)) / len(full)
    for t, (y, schedule) in enumerate(zip(train.targets, schedules, strict=True)):
        examples = slice(*train.bounds[t : t + 2])
        rows = slice(examples.start * wide, examples.stop * wide)
        sets = [train] if test is None else [train, test]
        moved = [left_over(s.matrix, full, kept)[:, rows] for s in sets]
        block = replace(own, matrix=moved[0][rows])
        try:
            spectrum = Spectrum.of(block, "kernel", zero_below=zero_below)
            gains = schedule.gains(spectrum.values + ridge, len(y), singular)
        except DataError as error:
            raise DataError(f"task {t}, {error}") from error
        alpha = spectrum.apply(gains[0], own.fold(y - train.f[examples]))
        for s, kernel in zip(sets, moved, strict=True):
            s.move(kernel @ alpha)
        if stored is not None:
            found = stored.combinations(full[rows, rows], t)
            new = np.zeros((len(full), found.shape[1]))
            new[rows] = found
            kept = np.concatenate([kept, new], axis=1)


def _schedules(schedule: Schedule | Sequence[Schedule] | None, tasks: int) -> list[Schedule]:
    each = list(schedule) if isinstance(schedule, Sequence) else [schedule or GradientFlow()] * tasks
    if len(each) != tasks or any(len(s.moments) != 1 for s in each):
        raise DataError(
            f"schedule: expected one, or {tasks}, one a task, of a single moment, found {len(each)} of "
            f"{[len(s.moments) for s in each]} moments"
        )
    return each


def _per_task(
    values: Sequence[Any] | None, sizes: list[int] | None, outputs: int | None, where: str
) -> list[np.ndarray]:
    """One array (examples, C) for each task."""
    if values is None and sizes is not None:
        assert outputs is not None  # where the sizes are known, so is C
        return [np.zeros((size, outputs)) for size in sizes]
    if values is None or not len(values) or (sizes is not None and len(values) != len(sizes)):
        count = "one" if sizes is None else f"{len(sizes)}"
        raise DataError(
            f"{where}: expected an array (examples, C) for each task, {count} at least, found {values}"
        )
    arrays = [array(v, f"{where}[{t}]") for t, v in enumerate(values)]
    outputs = outputs or arrays[0].shape[-1]
    each = sizes or [len(a) for a in arrays]
    return [
        outputs_on(a, n, outputs, f"{where}[{t}]") for t, (a, n) in enumerate(zip(arrays, each, strict=True))
    ]
