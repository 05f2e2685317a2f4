"""Causal lesions of a published run's networks: what each unit, and each group of tuned units, is there for."""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clntk.axes import CHECKPOINT, EVAL_TASK, LAYER, OTHER_TASK, PROBE, UNIT
from clntk.capture.lesion import lesioned_outputs, unit_activity
from clntk.capture.look import hidden_layers
from clntk.measures.lesions import DRAW, GROUP, GROUPS
from clntk.measures.tuning import unit_tuning
from clntk.runs.opened import Run
from clntk.runs.rebuild import ProbeSets
from clntk.seeding import Purpose, Seeds
from clntk.strategies.training import OUTSIDE, Loss, Rule, answered

LESION = "lesion"
DRAWS = 200  # random groups for each tuned one
TUNING = ("preferred_task", "tuned", "task_only", "dead")
DIMENSIONS = {  # of a table of lesions, but for the units silenced
    "intact": (),
    "units": (UNIT,),
    "groups": (GROUP, OTHER_TASK),
    "random": (GROUP, OTHER_TASK, DRAW),
}


def lesion_accuracies(
    network: nn.Module,
    layers: Mapping[str, str],
    inputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    silenced: Mapping[str, Tensor],
    *,
    rule: Rule = "argmax",
    heads: Tensor | None = None,
    loss: Loss | None = None,
) -> xr.Dataset:
    """How well each task is done under each of several lesions, for any network.

    Args:
        network: whose outputs are (examples, outputs); left as it was.
        layers: label → path of the module whose outputs are the units.
        inputs: task → inputs as the network takes them, (examples, features…); tasks may be of unequal size.
        targets: task → labels (examples), or values (examples, outputs).
        silenced: label → which units are silenced, shape (lesions, units); see
            :func:`clntk.capture.lesion.lesioned_outputs`.
        rule: what counts as a right answer: ``argmax``, ``sign``, or ``none``, whose accuracy is NaN.
        heads: which outputs each task may use, tasks × outputs in the order of ``inputs``; None where all may use all.
        loss: the loss to report; by default cross-entropy of labels, ½‖f − y‖² of values.

    Returns:
        ``accuracy``, in [0, 1], and ``loss``, the mean over examples, each of shape (lesion, eval_task).

    Raises:
        DataError: for lesions that do not fit the network.
    """
    sizes = [len(x) for x in inputs.values()]
    outputs = lesioned_outputs(network, layers, torch.cat(list(inputs.values())), silenced)
    columns = []
    for t, (task, f) in enumerate(zip(inputs, outputs.split(sizes, dim=1), strict=True)):
        y = targets[task]
        judge = loss or Loss("squared_error" if y.is_floating_point() else "cross_entropy", heads is not None)
        answers = f if heads is None else f.masked_fill(~heads[t], OUTSIDE)
        columns.append(_judged(answers, y, rule, judge))
    accuracy, losses = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    found = {"accuracy": ((LESION, EVAL_TASK), accuracy), "loss": ((LESION, EVAL_TASK), losses)}
    return xr.Dataset(found, coords={EVAL_TASK: list(inputs)})


def _judged(f: Tensor, y: Tensor, rule: Rule, loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and mean loss of answers (lesions, examples, outputs): (lesions) each."""
    flat, repeated = f.flatten(0, 1), y.repeat(len(f), *[1] * (y.ndim - 1))
    right, counted = (part.view(f.shape[:2]).sum(1) for part in answered(flat, repeated, rule))
    each = loss.each(flat, repeated.to(f.dtype) if y.is_floating_point() else repeated)
    return (right / counted).cpu().numpy(), each.view(f.shape[:2]).double().mean(1).cpu().numpy()


def lesions(run: Run) -> dict[str, xr.Dataset]:
    """Lesions of every unit, of every group of units tuned to a task, and of random groups of equal size.

    By each checkpoint's own tuning (:func:`~clntk.measures.tuning.unit_tuning` at its defaults) on the probe sets, on
    which the lesions are judged, too. Groups lie within one hidden layer: ``tuned``, the units called tuned whose
    preferred task it is; ``task_only``, those active in that task alone. Random groups are drawn from the layer's units
    that are not dead, independently of each other.

    Returns:
        - ``units``: ``accuracy`` and ``loss`` with one unit silenced (checkpoint, unit, eval_task); ``intact_accuracy``
          and ``intact_loss`` (checkpoint, eval_task); ``preferred_task``, ``tuned``, ``task_only``, ``dead``
          (checkpoint, unit), with each unit's layer in the coordinate ``layer``;
        - ``groups``: ``accuracy`` and ``loss`` (checkpoint, layer, group, other_task, eval_task) with the units
          silenced that are tuned to ``other_task``; ``size`` (checkpoint, layer, group, other_task), how many they are;
          ``random_accuracy`` and ``random_loss``, of random groups, along ``draw``; the intact ones as above.
    """
    sets, networks = run.probe_sets, {label: run.network(label) for label in run.checkpoints}
    paths = hidden_layers(networks[run.checkpoints[0]])
    tuning = unit_tuning(rectified_activity(networks, paths, sets.inputs))
    rng = Seeds(run.spec.seed).numpy(Purpose.BOOTSTRAP)
    units, groups = [], []
    for label, network in networks.items():
        now = tuning[list(TUNING)].sel({CHECKPOINT: label}, drop=True)
        parts = [
            _of_layer(network, paths, sets, now.isel({UNIT: now[LAYER].values == layer}), rng)
            for layer in paths
        ]
        units.append(_joined([part[0] for part in parts], UNIT))
        groups.append(_joined([part[1] for part in parts], LAYER).assign_coords({LAYER: list(paths)}))
    moments = run.fact("outputs")[CHECKPOINT]
    return {
        name: xr.concat(
            rows, dim=moments.variable, data_vars="all", coords="minimal", compat="override"
        ).assign_coords(moments.coords)
        for name, rows in (("units", units), ("groups", groups))
    }


def _joined(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    """The layers' parts side by side; what was intact is the same in all of them."""
    intact = [name for name in parts[0].data_vars if str(name).startswith("intact")]
    rest = [part.drop_vars(intact) for part in parts]
    joined = xr.concat(rest, dim=dim, data_vars="all", coords="minimal", compat="override")
    return joined.assign(parts[0][intact].drop_vars([UNIT, LAYER], errors="ignore"))


def rectified_activity(
    networks: Mapping[str, nn.Module], paths: Mapping[str, str], inputs: Mapping[str, Tensor]
) -> dict[str, xr.DataArray]:
    """Layer → (checkpoint, eval_task, probe, unit): rectified, which is all that groups depend on, so that a channel is
    active where it is at any position, and by how much on average over them."""
    found: dict[str, list[np.ndarray]] = {label: [] for label in paths}
    for network in networks.values():
        for label, values in unit_activity(network, paths, torch.cat(list(inputs.values()))).items():
            rectified = values.clamp(min=0).mean(1)
            found[label].append(rectified.unflatten(0, (len(inputs), -1)).cpu().numpy())
    coords = {CHECKPOINT: list(networks), EVAL_TASK: list(inputs)}
    dims = (CHECKPOINT, EVAL_TASK, PROBE, UNIT)
    return {
        label: xr.DataArray(np.stack(values), dims=dims, coords=coords) for label, values in found.items()
    }


def _of_layer(
    network: nn.Module,
    paths: Mapping[str, str],
    sets: ProbeSets,
    tuning: xr.Dataset,
    rng: np.random.Generator,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Lesions of the units, and of the groups, of one layer at one checkpoint.

    Args:
        tuning: of the layer's units, with the layer in the coordinate ``layer``.
    """
    tables = _tables(tuning, list(sets.inputs), rng)
    rows = [table.reshape(-1, tuning.sizes[UNIT]) for table in tables.values()]
    # where there are no tuned units, the lesions of all their random groups are one
    different, which = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    judged = lesion_accuracies(
        network,
        paths,
        sets.inputs,
        sets.targets,
        {str(tuning[LAYER].values[0]): torch.from_numpy(different)},
        rule=sets.stream.accuracy,
        heads=sets.heads,
        loss=sets.loss,
    )
    found: dict[str, xr.DataArray] = {}
    for name, values in judged.data_vars.items():
        parts = np.split(values.values[which], np.cumsum([len(row) for row in rows])[:-1])
        for (part, table), block in zip(tables.items(), parts, strict=True):
            dims = (*DIMENSIONS[part], EVAL_TASK)
            found[f"{part}_{name}"] = xr.DataArray(block.reshape(*table.shape[:-1], -1), dims=dims)
    coords = {EVAL_TASK: list(sets.inputs)}
    intact = {name: values for name, values in found.items() if name.startswith("intact")}
    by_unit = {name: found[f"units_{name}"] for name in judged.data_vars}
    by_group = {name: found[f"groups_{name}"] for name in judged.data_vars}
    by_group |= {f"random_{name}": found[f"random_{name}"] for name in judged.data_vars}
    by_group |= {"size": xr.DataArray(tables["groups"].sum(-1), dims=DIMENSIONS["groups"])}
    return (
        tuning.assign(intact | by_unit).assign_coords(coords),
        xr.Dataset(intact | by_group, coords={**coords, GROUP: list(GROUPS), OTHER_TASK: list(sets.inputs)}),
    )


def _tables(tuning: xr.Dataset, tasks: list[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Which units are silenced, with the units on the last axis."""
    n = tuning.sizes[UNIT]
    prefers = tuning["preferred_task"].values == np.array(tasks)[:, None]
    groups = np.stack([tuning[name].values & prefers for name in GROUPS])
    random = np.zeros((*groups.shape[:2], DRAWS, n), dtype=bool)
    live = np.flatnonzero(~tuning["dead"].values)
    for place in np.ndindex(groups.shape[:2]):
        for draw in random[place]:
            draw[rng.choice(live, groups[place].sum(), replace=False)] = True
    return {
        "intact": np.zeros(n, dtype=bool),
        "units": np.eye(n, dtype=bool),
        "groups": groups,
        "random": random,
    }
