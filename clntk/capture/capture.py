"""Capture: facts about a network, recorded at checkpoints of anyone's training loop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import xarray as xr
from torch import Tensor, nn

from clntk import registry
from clntk.axes import CHECKPOINT, INIT, STEP, TASK
from clntk.capture.look import Look, check_layers, hidden_layers, undisturbed
from clntk.errors import DataError

DEFAULT_PROBES = ("weights", "outputs", "activations", "kernels")


@dataclass(frozen=True)
class Record:
    """What was seen at one checkpoint: fact names (``kernels``, ``activations/hidden1``) and labelled arrays."""

    checkpoint: str
    step: int
    task: str
    facts: dict[str, xr.DataArray] = field(default_factory=dict)


class Capture:
    """Records facts about a network on fixed probe sets, around any PyTorch loop.

    ::

        with clntk.Capture(model, inputs={"A": x_a, "B": x_b}) as capture:
            capture("init", step=0)
            train(model, task_a)
            capture("A", step=100, task="A")
            ...
        facts = capture.facts()

    Looking never changes training: modes, gradients and random generators are put back, and hooks live only
    while a checkpoint is recorded.

    Args:
        model: any module whose output is (examples, outputs).
        probes: names of registered probes, or name → options.
        inputs: task name → probe inputs, equally many for each task.
        layers: label → module path of the hidden layers; by default the nonlinearities.

    Raises:
        DataError: for no or unequal probe sets, an unknown layer, a checkpoint recorded twice.
        UnknownName: for an unknown probe.
    """

    def __init__(
        self,
        model: nn.Module,
        probes: Iterable[str] | Mapping[str, Mapping[str, Any]] = DEFAULT_PROBES,
        *,
        inputs: Mapping[str, Tensor],
        layers: Mapping[str, str] | None = None,
    ) -> None:
        options = probes if isinstance(probes, Mapping) else {name: {} for name in probes}
        self.model = model
        self.probes = {name: (registry.get("probe", name), dict(given)) for name, given in options.items()}
        self.inputs = dict(inputs)
        self.layers = dict(hidden_layers(model) if layers is None else layers)
        self.records: list[Record] = []
        self._closed = False
        _check_inputs(self.inputs)
        check_layers(model, self.layers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True

    def __call__(self, checkpoint: str, *, step: int, task: str = "") -> Record:
        """Record all probes now.

        Args:
            checkpoint: the label of this moment, unique in the run; the first is usually ``"init"``.
            step: optimizer steps taken so far.
            task: the task just trained.
        """
        if self._closed:
            raise DataError(
                f"capture: expected checkpoint {checkpoint!r} inside the with block, found it closed"
            )
        if any(record.checkpoint == checkpoint for record in self.records):
            raise DataError(f"capture: checkpoint {checkpoint!r} was recorded before; choose another label")
        facts: dict[str, xr.DataArray] = {}
        with undisturbed(self.model):
            look = Look(self.model, self.inputs, self.layers)
            for name, (entry, options) in self.probes.items():
                fact = entry(look, **options)
                named = (
                    {name: fact}
                    if isinstance(fact, xr.DataArray)
                    else {f"{name}/{k}": v for k, v in fact.items()}
                )
                facts |= named
        record = Record(checkpoint, step, task, facts)
        self.records.append(record)
        return record

    def facts(self) -> xr.DataTree:
        """All checkpoints so far as one labelled tree: one group a fact, concatenated along ``checkpoint``."""
        return facts_tree(self.records)


def facts_tree(records: Iterable[Record]) -> xr.DataTree:
    """The records of a run as a tree: ``/outputs``, ``/kernels``, ``/activations/<layer>``, ``/weights/<param>``."""
    records = list(records)
    labels = [record.checkpoint for record in records]
    coords = {
        CHECKPOINT: labels,
        STEP: (CHECKPOINT, np.asarray([record.step for record in records])),
        TASK: (CHECKPOINT, [record.task for record in records]),
    }
    groups: dict[str, xr.Dataset] = {}
    for name in records[0].facts if records else ():
        joined = xr.concat(
            [record.facts[name] for record in records], dim=CHECKPOINT, coords="minimal", join="exact"
        )
        variable = name.rpartition("/")[2]
        groups[f"/{name}"] = joined.assign_coords(coords).to_dataset(name=variable)
    return xr.DataTree.from_dict(groups)


def _check_inputs(inputs: Mapping[str, Tensor]) -> None:
    if not inputs:
        raise DataError(
            f"capture: expected probe inputs of at least one task, found none; pass inputs={{{INIT!r}: x}}"
        )
    sizes = {task: tuple(x.shape) for task, x in inputs.items()}
    if len(set(sizes.values())) != 1 or 0 in next(iter(sizes.values()))[:1]:
        raise DataError(
            f"capture: expected probe sets of one shape, with at least one probe each, found {sizes}"
        )
