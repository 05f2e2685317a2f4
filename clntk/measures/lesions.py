"""Causal lesions: does a task need the units that are tuned to it, and do the other tasks not need them?

The *damage* of a lesion to a task is the accuracy that is lost, or the loss that is gained, on its probes when the
units are held at zero. A group of units tuned to a task damages its *own* task and *others*. How far the damage is
confined to the own task is the *score*

    (own − others)/max(own, others),

own and others being means over groups, and over pairs of a group and another task, those below zero counting as zero.
Where own ≥ others it is 1 − others/own. So it lies in [−1, 1]: 1 if the own task alone is damaged, 0 if the others are
damaged as much, −1 if they alone are; NaN if nothing is.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import xarray as xr

from clntk.axes import CHECKPOINT, EVAL_TASK, OTHER_TASK, UNIT
from clntk.errors import DataError
from clntk.registry import register

GROUP, DRAW = "group", "draw"
GROUPS = ("tuned", "task_only")
TIE = 1e-9  # damages closer than this are equal: far above rounding, far below one answer

Group = Literal["tuned", "task_only"]
Of = Literal["accuracy", "loss"]
Lesions = Mapping[str, xr.Dataset]


def localism_score(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(own − others)/max(own, others), means below zero counting as zero: how far damage is confined to the own task.

    Args:
        own: mean damage of lesions to the task that the units are tuned to, of any shape.
        others: mean damage to the other tasks, of the same shape.

    Returns:
        in [−1, 1]; NaN where neither is damaged, or one is not known.
    """
    own, others = (np.maximum(values, 0.0) for values in np.broadcast_arrays(own, others))
    top = np.maximum(own, others)
    return np.divide(own - others, top, out=np.full(top.shape, np.nan), where=top > TIE)


def own_and_others(damage: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean damage to the task that each group is tuned to, and to the others; NaN without any group.

    Args:
        damage: shape (…, task tuned to, task), in the same order.
        present: which groups there are, shape (…, task tuned to).

    Returns:
        shape (…) each.
    """
    n = damage.shape[-1]
    counted = np.broadcast_to(present[..., None], damage.shape)
    means = []
    for pairs in (np.eye(n, dtype=bool), ~np.eye(n, dtype=bool)):
        chosen = counted & pairs
        count = chosen.sum(axis=(-2, -1))
        total = np.where(chosen, damage, 0.0).sum(axis=(-2, -1))
        means.append(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
    return means[0], means[1]


def damage_of(facts: xr.Dataset, of: Of, prefix: str = "") -> xr.DataArray:
    """The accuracy lost, or the loss gained; ``prefix`` names other lesions than the facts' own."""
    if of not in ("accuracy", "loss"):
        raise DataError(f"lesions, of: expected 'accuracy' or 'loss', found {of!r}; choose one of them")
    change = facts[f"intact_{of}"] - facts[f"{prefix}{of}"]
    return change if of == "accuracy" else -change


def _groups(lesions: Lesions, group: Group) -> xr.Dataset:
    """The facts of one kind of groups, tasks tuned to in the order of the tasks judged."""
    if group not in GROUPS:
        raise DataError(f"lesions, group: expected one of {', '.join(GROUPS)}, found {group!r}")
    facts = lesions["groups"].sel({GROUP: group}, drop=True)
    return facts.sel({OTHER_TASK: facts[EVAL_TASK].values})


def _exceeded(random: xr.DataArray, observed: xr.DataArray, known: xr.DataArray) -> xr.DataArray:
    """p: (1 + how many of the random draws are as large)/(1 + draws), where it is known."""
    p = (1 + (random >= observed - TIE).sum(DRAW)) / (1 + random.sizes[DRAW])
    return p.where(known & observed.notnull())


def _own_and_others_apart(result: xr.Dataset) -> xr.Dataset:
    own = result[EVAL_TASK] == result[OTHER_TASK]
    damage = result["damage"]
    return xr.Dataset({"own": damage.where(own), "others": damage.where(~own), "size": result["size"]})


@register("measure", scalar=_own_and_others_apart)
def lesion_damage(lesions: Lesions, *, group: Group = "tuned", of: Of = "accuracy") -> xr.Dataset:
    """Damage to every task when the units tuned to one are silenced, against random groups of equal size.

    - ``damage`` (checkpoint, layer, other_task, eval_task): to ``eval_task``, by the lesion of the units of a layer
      that are tuned to ``other_task``; in accuracy, at most 1, or in units of the loss; negative if the task gains; NaN
      where no unit is;
    - ``null_mean``, ``null_sd``: of random groups of as many units of the layer, dead ones apart;
    - ``p``: the share of random groups that do as much damage, in [1/(1 + draws), 1], one-sided;
    - ``size`` (checkpoint, layer, other_task): how many units the group has.

    Tuning is that of the same network at the same checkpoint. The numbers per run are, at the last checkpoint, the mean
    damage to the own task, that to others, and the mean size.

    Args:
        lesions: see :func:`clntk.runs.lesions.lesions`.
        group: ``tuned``, units called tuned whose preferred task it is; ``task_only``, units active in that task alone.
        of: what is damaged: ``accuracy``, which is NaN for a stream that has none, or ``loss``.

    Raises:
        DataError: for an option that is none of these.

    Source: Flesch et al. 2022 (lesions of task-only units); Morcos et al. 2018, arXiv 1803.06959 (ablation).
    """
    facts = _groups(lesions, group)
    there = facts["size"] > 0
    damage, random = damage_of(facts, of).where(there), damage_of(facts, of, "random_").where(there)
    found = {
        "damage": damage,
        "null_mean": random.mean(DRAW),
        "null_sd": random.std(DRAW, ddof=1),
        "p": _exceeded(random, damage, there),
    }
    order = [dim for dim in facts["accuracy"].dims if dim in damage.dims]
    return xr.Dataset({k: v.transpose(*order) for k, v in found.items()}).assign(size=facts["size"])


def _score_alone(result: xr.Dataset) -> xr.Dataset:
    return result[["score"]]


@register("measure", scalar=_score_alone)
def unit_lesions(lesions: Lesions, *, of: Of = "accuracy") -> xr.Dataset:
    """Damage to every task when a single unit is silenced, and how far it is confined to the unit's preferred task.

    - ``damage`` (checkpoint, unit, eval_task): the accuracy lost, or the loss gained;
    - ``score`` (checkpoint, unit): of the preferred task as own; see :func:`localism_score`. NaN for dead units, and
      where nothing is damaged;
    - ``preferred_task``, ``tuned``, ``task_only`` (checkpoint, unit), by the network's own tuning.

    Units of feature maps are channels; those of all layers follow each other along ``unit``, with their layer in the
    coordinate ``layer``. The number per run is the mean score of the units that do any damage, at the last checkpoint.

    Args:
        lesions: see :func:`clntk.runs.lesions.lesions`.
        of: what is damaged, ``accuracy`` or ``loss``; of one unit among many, accuracy shows little.

    Raises:
        DataError: for an option that is neither.

    Source: Morcos et al. 2018, arXiv 1803.06959 (ablation of single units, against their selectivity).
    """
    facts = lesions["units"]
    damage = damage_of(facts, of).transpose(CHECKPOINT, UNIT, EVAL_TASK)
    own = facts["preferred_task"] == facts[EVAL_TASK]
    live = own.any(EVAL_TASK)
    score = localism_score(
        damage.where(own).sum(EVAL_TASK).values,
        damage.where(~own).sum(EVAL_TASK).values / (own.sizes[EVAL_TASK] - 1),
    )
    found = xr.Dataset({"damage": damage, "score": live.copy(data=score).where(live)})
    return found.assign(facts[["preferred_task", "tuned", "task_only"]])


@register("measure", scalar=_score_alone)
def localism(lesions: Lesions, *, group: Group = "tuned", of: Of = "accuracy") -> xr.Dataset:
    """How far lesions of the units tuned to a task damage that task alone: localist if they do, distributed if not.

    Of each layer at each checkpoint (checkpoint, layer):

    - ``score``: (own − others)/max(own, others), of mean damages, in [−1, 1]; see :func:`localism_score`;
    - ``own``, ``others``: mean damage of a group to the task it is tuned to, and to the others;
    - ``specificity``: own − others, unlike the score not relative, and known where nothing is damaged;
    - ``null_specificity``, ``p``: its mean in random groups of equal size, and the share of draws in which it is as
      large, in [1/(1 + draws), 1];
    - ``groups``: how many tasks have a group; without any, all else is NaN.

    Damage to all tasks alike is no localism, however large; damage below what random groups do is none, either. The
    number per run is the score at the last checkpoint, averaged over layers.

    Args:
        lesions: see :func:`clntk.runs.lesions.lesions`.
        group: ``tuned``, units called tuned whose preferred task it is; ``task_only``, units active in that task alone.
        of: what is damaged: ``accuracy``, which is NaN for a stream that has none, or ``loss``.

    Raises:
        DataError: for an option that is none of these.
    """
    facts = _groups(lesions, group)
    there = facts["size"] > 0
    pair = (OTHER_TASK, EVAL_TASK)

    def means(damage: xr.DataArray) -> tuple[xr.DataArray, ...]:
        return xr.apply_ufunc(
            own_and_others, damage, there, input_core_dims=[pair, (OTHER_TASK,)], output_core_dims=[(), ()]
        )

    own, others = means(damage_of(facts, of))
    own_by_chance, others_by_chance = means(damage_of(facts, of, "random_"))
    specificity, by_chance = own - others, own_by_chance - others_by_chance
    return xr.Dataset(
        {
            "score": own.copy(data=localism_score(own.values, others.values)),
            "own": own,
            "others": others,
            "specificity": specificity,
            "null_specificity": by_chance.mean(DRAW),
            "p": _exceeded(by_chance, specificity, there.any(OTHER_TASK)),
            "groups": there.sum(OTHER_TASK),
        }
    )
