"""A published run's networks and probe sets, from its folder alone: no data is loaded, nothing is trained."""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clntk import limits
from clntk.axes import EVAL_TASK
from clntk.capture.look import hidden_layers
from clntk.errors import StoreError
from clntk.protocol.spec import RunSpec, name_of
from clntk.runs.build import component, training_of, untrained
from clntk.runs.used import refuse_unnamed_or_changed
from clntk.shape import TaskShape
from clntk.strategies.gates import put_gates
from clntk.strategies.learner import head_mask
from clntk.strategies.packed import pack
from clntk.strategies.switch import TaskSwitch
from clntk.strategies.training import OUTSIDE, Loss
from clntk.streams.base import Split, Task, TaskStream

_GATES, _OWNER = (
    "gates_",
    ".owner",
)  # how buffers are called that depend on the task: see gates.py and packed.py


@dataclass(frozen=True)
class ProbeSets:
    """What the networks of a run are looked at through, and how their answers are judged.

    Args:
        stream: the run's tasks; their probes are all of their data.
        loss: what the run was trained on.
        gated: whether the network depends on the task, and takes it as one more column of its inputs.
    """

    stream: TaskStream
    loss: Loss
    gated: bool

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Task name → probe inputs as the network takes them: (probes, features…)."""
        plain = {task.name: task.probe.x for task in self.stream.tasks}
        if not self.gated:
            return plain
        ride = TaskSwitch(nn.Identity(), self.stream.shape.inputs).with_task
        return {name: ride(x, t) for t, (name, x) in enumerate(plain.items())}

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """Task name → labels (probes), or values (probes, outputs)."""
        return {task.name: task.probe.y for task in self.stream.tasks}

    @cached_property
    def heads(self) -> Tensor | None:
        """Which outputs each task may use: tasks × outputs, or None where all may use all."""
        return head_mask(self.stream)

    def answers(self, f: Tensor, task: str) -> Tensor:
        """Logits (…, outputs) as a task's head gives them."""
        if self.heads is None:
            return f
        return f.masked_fill(~self.heads[self.stream.task_names.index(task)], OUTSIDE)

    @property
    def losses(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Task name → the loss that was trained on, of logits on that task's probes."""

        def of(task: str) -> Callable[[Tensor], Tensor]:
            y = self.targets[task]
            return lambda f: self.loss(self.answers(f, task), y.to(f.dtype) if y.is_floating_point() else y)

        return {task: of(task) for task in self.targets}


def stored_probe_sets(
    spec: RunSpec, probes: xr.Dataset, attrs: Mapping[Hashable, Any], names: list[str], where: Path
) -> ProbeSets:
    """The probe sets of a run as they were published.

    Args:
        spec: the run's.
        probes: its fact ``probes``.
        attrs: attributes of its facts.
        names: of the parameters and buffers of its network.
        where: its folder, for errors.

    Raises:
        StoreError: if it was published by a clntk that did not yet store heads and input groups.
    """
    if "heads" not in probes:
        raise StoreError(
            f"{where}: expected the outputs of each task among its probes, found a run of a clntk that did not yet "
            "store them; run it again to rebuild its networks"
        )
    tasks = tuple(
        Task(name, split, split, split)
        for name, split in (
            (str(row[EVAL_TASK].item()), Split(_tensor(row["inputs"]), _tensor(row["targets"])))
            for row in (probes.isel({EVAL_TASK: t}) for t in range(probes.sizes[EVAL_TASK]))
        )
    )
    mask = probes["heads"].values.astype(bool)
    stream = TaskStream(
        tasks,
        outputs=mask.shape[1],
        target=attrs["target"],
        accuracy=attrs["accuracy"],
        chance=float(attrs["chance"]),
        input_groups={k: tuple(v) for k, v in json.loads(probes.attrs["input_groups"]).items()},
        heads=None if mask.all() else tuple(tuple(map(int, np.flatnonzero(row))) for row in mask),
    )
    gated = any(name.startswith(_GATES) or name.endswith(_OWNER) for name in names)
    return ProbeSets(stream, training_of(spec).make_loss(stream), gated)


def rebuild(spec: RunSpec, tensors: Mapping[str, Tensor], stream: TaskStream, where: Path) -> nn.Module:
    """A run's network with the weights, and all else that was stored with them, of one checkpoint, in eval mode.

    Gates and shares of weights that a strategy put into the network are part of it: it then takes inputs with their
    task, as :attr:`ProbeSets.inputs` are.

    Args:
        spec: the run's.
        tensors: parameters and buffers by name.
        stream: the run's tasks, as far as they were stored.
        where: the checkpoint's file, for errors.

    Raises:
        StoreError: if model and regime, as they are now, have other parameters or buffers than those stored, or are a
            user's own and have changed.
    """
    refuse_unnamed_or_changed(spec, ("model", name_of(spec.model)), ("regime", name_of(spec.regime_options)))
    _refuse_larger(spec, tensors, stream.shape, where)
    network = untrained(spec, stream.shape).model
    _restore_gates(network, tensors, stream.shape)
    if any(name.endswith(_OWNER) for name in tensors):
        pack(network, stream)
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise StoreError(
            f"{where}: expected the parameters and buffers of model {spec.model['name']!r} under regime "
            f"{spec.regime_options['name']!r}, found others, as a clntk of another version may have stored them; "
            f"run it again: {error}"
        ) from error
    return network.eval()


def _refuse_larger(spec: RunSpec, tensors: Mapping[str, Tensor], shape: TaskShape, where: Path) -> None:
    """Check that a network is no larger than what was stored of it, before there is one: a spec may claim anything.

    Raises:
        StoreError: for one with more parameters, or an option that is a larger number than any honest one.
    """
    stored = sum(tensor.numel() for tensor in tensors.values())
    found = max([0, *_whole_numbers([spec.model, spec.regime_options])])
    if found <= max(stored, limits.OPTION):
        try:
            with torch.device("meta"):  # shapes alone, without memory
                model = component("model", spec.model, shape)
        except (
            Exception
        ):  # a network of one's own may need its numbers: those are in files that the user named
            return
        found = sum(parameter.numel() for parameter in model.parameters())
    if found > max(stored, limits.OPTION):
        raise StoreError(
            f"{where}: expected model {spec.model['name']!r} to have the {stored} numbers that are stored, found its "
            "options to ask for more; this run was not written by clntk"
        )


def _whole_numbers(value: object) -> Iterator[int]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _whole_numbers(part)
    elif isinstance(value, int):
        yield value


def _restore_gates(network: nn.Module, tensors: Mapping[str, Tensor], shape: TaskShape) -> None:
    labels = {f"{_GATES}{label.replace('.', '_')}": label for label in hidden_layers(network)}
    gates = {labels[name]: value for name, value in tensors.items() if name in labels}
    if gates:
        put_gates(network, gates, shape.inputs)


def _tensor(values: xr.DataArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.values))
