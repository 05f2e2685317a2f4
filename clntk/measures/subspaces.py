"""Task subspaces: whether two tasks are represented along the same directions of activity.

A subspace is spanned by the leading principal components of the patterns about their own mean, as many as hold a
given share of the variance. So a mere shift between two tasks' means does not count; a decoder of the task sees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from clntk.axes import EVAL_TASK, OTHER_TASK
from clntk.errors import DataError
from clntk.measures.geometry import cumulative_variance
from clntk.measures.interference import between_tasks
from clntk.measures.population import Columns, by_layer, centred, patterns, principal_axes
from clntk.registry import register


@dataclass(frozen=True)
class Subspace:
    """Patterns about their mean, and the subspace that holds most of their variance.

    Args:
        moved: shape (examples, units), centred.
        eigenvalues: of Σ xxᵀ over examples, largest first.
        basis: shape (units, k), orthonormal; k is 0 for patterns that do not vary.
    """

    moved: np.ndarray
    eigenvalues: np.ndarray
    basis: np.ndarray

    @property
    def k(self) -> int:
        return self.basis.shape[1]


def subspace(activations: Any, *, variance: float = 0.9) -> np.ndarray:
    """Orthonormal basis of the leading principal components of activations.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        variance: share in (0, 1] of the variance that they hold at least; the fewest that do are kept.

    Returns:
        shape (units, k); k is 0 for activations that do not vary.

    Raises:
        DataError: for activations that are not two-dimensional, empty, or not finite, or a share that is none.
    """
    return _one(activations, variance, "subspace").basis


def principal_angles(a: Any, b: Any, *, variance: float = 0.9) -> np.ndarray:
    """Principal angles between the subspaces of two sets of patterns, smallest first.

    Args:
        a: shape (examples, units): NumPy, torch or xarray.
        b: the same units; the examples may be others.
        variance: see :func:`subspace`.

    Returns:
        degrees in [0, 90], as many as the smaller subspace has dimensions: none if a or b does not vary.

    Raises:
        DataError: as :func:`subspace`, and for different numbers of units.

    Source: Björck & Golub 1973, "Numerical methods for computing angles between linear subspaces".
    """
    return _angles(*_both(a, b, variance, "principal_angles"))


def alignment_index(a: Any, b: Any, *, variance: float = 0.9) -> float:
    """Alignment index: variance of a within the subspace of b, over the most that as many dimensions of a hold.

    tr(BᵀC_aB)/Σ_{i≤k} λ_i(C_a) for the k leading components B of b. In [0, 1]: 0 if a does not vary along B, 1 if B
    is the leading subspace of a; not symmetric; NaN if a or b does not vary.

    Args:
        a: shape (examples, units): NumPy, torch or xarray.
        b: the same units; the examples may be others.
        variance: the share of b's variance that sets k; see :func:`subspace`.

    Raises:
        DataError: as :func:`subspace`, and for different numbers of units.

    Source: Elsayed et al. 2016, "Reorganization between preparatory and movement population responses in motor
    cortex", with k set by a share of variance instead of 10.
    """
    return _alignment(*_both(a, b, variance, "alignment_index"))


def _one(activations: Any, variance: float, where: str) -> Subspace:
    if not 0 < variance <= 1:
        raise DataError(f"{where}, variance: expected a share in (0, 1], found {variance}")
    return _subspace(patterns(activations, f"{where}, activations"), variance)


def _both(a: Any, b: Any, variance: float, where: str) -> tuple[Subspace, Subspace]:
    first, second = _one(a, variance, where), _one(b, variance, where)
    if first.moved.shape[1] != second.moved.shape[1]:
        raise DataError(
            f"{where}: expected the same units in both, found {first.moved.shape[1]} and {second.moved.shape[1]}; "
            "examples are rows, units columns: is an array transposed?"
        )
    return first, second


def _subspace(values: np.ndarray, variance: float) -> Subspace:
    moved = centred(values)
    eigenvalues, basis = principal_axes(moved)
    # a share that is reached but for rounding is reached; of NaN none is
    short = cumulative_variance(eigenvalues) < variance * (1 - 1e-12)
    k = int(short.sum()) + 1 if eigenvalues[0] > 0 else 0
    return Subspace(moved, eigenvalues, np.linalg.qr(basis[:, :k])[0])


def _angles(a: Subspace, b: Subspace) -> np.ndarray:
    from scipy.linalg import subspace_angles

    return np.rad2deg(subspace_angles(a.basis, b.basis)[::-1]) if a.k and b.k else np.empty(0)


def _alignment(a: Subspace, b: Subspace) -> float:
    if not a.k or not b.k:
        return float("nan")
    share = ((a.moved @ b.basis) ** 2).sum() / a.eigenvalues[: b.k].sum()
    return min(float(share), 1.0)  # 1 but for rounding


def _chance(a: Subspace, b: Subspace) -> float:
    """What the alignment index would be on average for k directions drawn at random, uniformly over all."""
    if not a.k or not b.k:
        return float("nan")
    return float(b.k / len(b.basis) * a.eigenvalues.sum() / a.eigenvalues[: b.k].sum())


def _pairs(result: xr.Dataset) -> xr.Dataset:
    """Pairs of different tasks, without their extreme angles."""
    return between_tasks(result[["alignment", "alignment_chance", "overlap", "dimension"]])


@register("measure", scalar=_pairs)
def task_subspaces(
    activations: Mapping[str, xr.DataArray],
    *,
    variance: Annotated[float, Field(gt=0, le=1)] = 0.9,
) -> xr.Dataset:
    """Alignment and principal angles between the subspaces in which hidden layers represent two tasks.

    All but ``dimension`` have shape (checkpoint, layer, eval_task, other_task):

    - ``alignment``: variance of eval_task's activity within the subspace of other_task, over the most that as many
      of its own dimensions hold; in [0, 1]; not symmetric;
    - ``alignment_chance``: its mean over subspaces of that dimension drawn at random;
    - ``overlap``: mean squared cosine of the principal angles, in [0, 1]; 1 where one subspace holds the other;
    - ``smallest_angle``, ``largest_angle``: the first and last principal angle in degrees, in [0, 90];
    - ``dimension`` (checkpoint, layer, eval_task): dimensions of the task's subspace.

    NaN (dimension 0) for a task whose activity does not vary, as with a single probe. Few probes make subspaces of
    noise: compare with other checkpoints and regimes at the same number of probes. The numbers per run are means over
    layers and pairs of different tasks at the last checkpoint, without the angles.

    Args:
        activations: layer → checkpoint × eval_task × probe × unit.
        variance: share of a task's variance that its subspace holds.

    Raises:
        DataError: if there are no layers, or activations that are not finite.

    Source: Elsayed et al. 2016 (alignment index), Björck & Golub 1973 (principal angles).
    """
    labels = next(iter(activations.values()))[EVAL_TASK].values if activations else np.empty(0)

    def measured(values: np.ndarray) -> Columns:
        spaces = [_subspace(task, variance) for task in values]
        overlap, smallest, largest = _summaries(spaces)
        pairs = {
            "alignment": [[_alignment(a, b) for b in spaces] for a in spaces],
            "alignment_chance": [[_chance(a, b) for b in spaces] for a in spaces],
            "overlap": overlap,
            "smallest_angle": smallest,
            "largest_angle": largest,
        }
        columns = {name: ((EVAL_TASK, OTHER_TASK), table) for name, table in pairs.items()}
        return columns | {"dimension": ((EVAL_TASK,), [space.k for space in spaces])}

    return by_layer(activations, measured, {OTHER_TASK: labels})


def _summaries(spaces: list[Subspace]) -> np.ndarray:
    """Mean squared cosine, smallest and largest principal angle in degrees of each pair: (3, space, space)."""
    table = np.full((3, len(spaces), len(spaces)), np.nan)
    for s, a in enumerate(spaces):
        for t, b in enumerate(spaces[: s + 1]):  # worked out once a pair, so that rounding keeps it symmetric
            angles = _angles(a, b)
            if angles.size:
                of_pair = (np.cos(np.deg2rad(angles)) ** 2).mean(), angles[0], angles[-1]
                table[:, s, t] = table[:, t, s] = of_pair
    return table
