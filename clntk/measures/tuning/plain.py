"""Unit tuning from plain arrays: a network's activations, or a neuroscientist's recordings."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from clntk.axes import EVAL_TASK, OTHER_TASK, OUTPUT, UNIT
from clntk.errors import DataError
from clntk.measures.tuning.design import Design, PerUnit
from clntk.measures.tuning.indices import indices
from clntk.measures.tuning.inputs import design_of, finite_table, plain_array
from clntk.measures.tuning.null import called, permutation_null
from clntk.measures.tuning.outputs import output_correlation
from clntk.measures.tuning.variance import task_variances

DIMENSIONS = {
    "mean_activation": (EVAL_TASK,),
    "task_variance": (EVAL_TASK,),
    "fractional_task_variance": (EVAL_TASK, OTHER_TASK),
    "output_correlation": (OUTPUT,),
}


def task_tuning(
    activations: Any,
    tasks: Sequence[Hashable],
    *,
    stimuli: Sequence[Hashable] | None = None,
    outputs: Any = None,
    null: int = 1000,
    fdr: float = 0.05,
    seed: int = 0,
) -> xr.Dataset:
    """Unit task-tuning indices from plain arrays.

    Args:
        activations: shape (examples, units): NumPy, torch or xarray.
        tasks: shape (examples,), labels of any hashable type, told apart by their text. Tasks are ordered by
            first appearance.
        stimuli: shape (examples,), which stimulus each example shows, if some are shown repeatedly. Repeats
            of a stimulus in a task are averaged for sparseness and task variance, and permuted together.
        outputs: shape (examples, outputs), or (examples,) for one: the network's logits, or any other value
            of each example, such as a choice.
        null: how many permutations of the task labels; 0 for none, which leaves ``p``, ``selectivity_null``
            and ``selectivity_corrected`` NaN and no unit tuned.
        fdr: the false-discovery rate at which units are called tuned.
        seed: of the permutations.

    Returns:
        a dataset with dimension unit, and the options of the null as attributes:

        - ``mean_activation`` (unit, eval_task): of the raw activation, in its units;
        - ``selectivity``: (a_max − mean of the others)/(a_max + mean of the others) on the tasks' means of
          the rectified activation, in [0, 1]; 0 if all tasks evoke the same, 1 if only one does; NaN for a
          dead unit;
        - ``preferred_task``: label of the task with the largest rectified mean, the first in order if several
          are equal; ``""`` for a dead unit;
        - ``active_tasks``: number of tasks on whose examples the unit is ever above zero;
        - ``task_only``, ``mixed``, ``dead``: active on exactly one task, on two or more, on none;
        - ``d_prime``: between the preferred task and an equal mixture of the others, rectified, ≥ 0
          (:func:`~clntk.measures.tuning.indices.d_prime`); infinite if the means differ and nothing varies;
          NaN for a dead unit, and if the preferred task, or each of the others, has one example;
        - ``mutual_information``: of the raw activation with the task, in bits, binned by rank, corrected for
          bias and so possibly below 0 (:func:`~clntk.measures.tuning.information.mutual_information`);
        - ``lifetime_sparseness``: over examples (stimuli, if given), rectified, in [0, 1]; NaN if dead;
        - ``task_variance`` (unit, eval_task): variance of the raw activation over the task's examples
          (stimuli, if given), relative to the task where it is largest; NaN for a task of one example, and
          for a unit that is constant within every task;
        - ``fractional_task_variance`` (unit, eval_task, other_task): (TV_A − TV_B)/(TV_A + TV_B);
        - ``p``: of the selectivity, in [1/(1 + null), 1], NaN for a dead unit; task labels are permuted among
          all examples. With ``stimuli``, those shown in one task change tasks with all their repeats, and
          those shown in several exchange tasks among themselves, stimulus by stimulus. A constant unit has 1,
          and so has every unit if tasks have one example each;
        - ``tuned``: p passes Benjamini–Hochberg at ``fdr`` over the units that are not dead. For any of m
          units to be called, m/(fdr·(1 + null)) of them have to be: for many units with few tuned ones,
          raise ``null``;
        - ``selectivity_null``: mean selectivity under permutation, which few examples push above 0, and
          ``selectivity_corrected``: the index minus that mean;
        - ``output_correlation`` (unit, output), only with ``outputs``: Pearson, of deviations from each
          task's mean; NaN where there are none.

        In means, selectivity, d′ and task variance each task counts the same, whatever its number of
        examples; permutations keep these numbers; sparseness and mutual information weigh tasks by them.

    Raises:
        DataError: for activations or outputs that are not two-dimensional numbers or not finite, labels that
            are missing or do not match them in number, fewer than two tasks, and options out of range.

    Source: each index's own function; exact-zero classes of Flesch et al. 2022, "Orthogonal representations
    for robust context-dependent task performance", generalised from two tasks to any number.
    """
    _refuse_options(null, fdr)
    values = finite_table(activations, "task_tuning, activations")
    design = design_of(tasks, stimuli, len(values), "task_tuning")
    targets = None if outputs is None else _outputs(outputs, len(values))[design.order].astype(np.float64)
    found = design.for_units(partial(_all_indices, design=design), values)
    found |= permutation_null(values, design, null=null, seed=seed)
    found["tuned"] = called(found["p"], fdr)
    if targets is not None:
        found |= design.for_units(partial(output_correlation, outputs=targets, design=design), values)
    columns = {
        name: ((UNIT, *DIMENSIONS.get(name, ())), array) for name, array in labelled(found, design).items()
    }
    coords = {UNIT: np.arange(values.shape[1]), EVAL_TASK: design.tasks, OTHER_TASK: design.tasks}
    return xr.Dataset(columns, coords=coords, attrs={"null": null, "fdr": fdr, "seed": seed})


def labelled(found: PerUnit, design: Design) -> PerUnit:
    """The indices with the preferred task by its label."""
    names = np.asarray(design.tasks, dtype=str)[found["preferred"]]
    renamed = {"preferred_task" if name == "preferred" else name: array for name, array in found.items()}
    return renamed | {"preferred_task": np.where(found["dead"], "", names)}


def _all_indices(arranged: np.ndarray, design: Design) -> PerUnit:
    return indices(arranged, design) | task_variances(arranged, design)


def _outputs(outputs: Any, n_examples: int) -> np.ndarray:
    where = "task_tuning, outputs"
    array = plain_array(outputs)
    array = array[:, None] if array.ndim == 1 else array
    table = finite_table(array, where, of="outputs", column="output")
    if len(table) != n_examples:
        raise DataError(
            f"{where}: expected {n_examples} rows, as activations have, found {len(table)}; "
            "give the outputs on the same examples"
        )
    return table


def _refuse_options(null: int, fdr: float) -> None:
    if not null >= 0:
        raise DataError(
            f"task_tuning, null: expected 0 or more permutations, found {null}; 1000 is the default"
        )
    if not 0 < fdr < 1:
        raise DataError(
            f"task_tuning, fdr: expected a rate between 0 and 1, found {fdr}; 0.05 is the default"
        )
