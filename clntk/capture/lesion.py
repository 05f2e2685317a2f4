"""Lesions: a network's outputs with some of its hidden units held at zero, for many lesions at once.

A *unit* is one output of a nonlinearity in a fully connected layer, a whole channel of feature maps, one feature of a
sequence of vectors: silenced at all positions, and whenever the nonlinearity is called.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from clntk.capture.look import check_layers, frozen_copies, undisturbed, watched
from clntk.errors import DataError

AT_ONCE = 2**12  # examples in a forward pass


@dataclass
class _Silencer:
    """The hook that holds units of a layer at zero, other ones for each lesion of the batch under way."""

    label: str
    silenced: Tensor = field(default_factory=lambda: torch.zeros(0))  # lesions × units

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        units = _units_last(output).shape[-1]
        if self.silenced.shape[1] != units:
            raise DataError(
                f"lesions of layer {self.label!r}: expected one value for each of {units} units, "
                f"found {self.silenced.shape[1]}; give each lesion as a row of a table lesions × units"
            )
        by_lesion = _units_last(output).unflatten(0, (len(self.silenced), -1))
        shape = (len(self.silenced), *[1] * (by_lesion.ndim - 2), units)
        held = by_lesion.masked_fill(self.silenced.view(shape), 0.0).flatten(0, 1)
        return held.movedim(-1, 1) if _channels_first(output) else held


@torch.no_grad()
def lesioned_outputs(
    network: nn.Module, layers: Mapping[str, str], x: Tensor, silenced: Mapping[str, Tensor]
) -> Tensor:
    """Outputs under each of several lesions: shape (lesions, examples, outputs).

    Exact: the forward pass is the network's own, in eval mode, with the activations of silenced units replaced by 0. In
    a copy of the network at initialisation that a regime subtracts or expands around, the same units are silenced: the
    network is as if it had never had them.

    Args:
        network: whose outputs are (examples, outputs); left as it was.
        layers: label → path of the module whose outputs are the units.
        x: inputs, shape (examples, features…).
        silenced: label → which units are silenced, shape (lesions, units), for one layer or several: row k of all of
            them together is lesion k.

    Raises:
        DataError: for layers that the network does not have, no lesion, tables that are not of one length or not as
            wide as their layer.
    """
    tables = {label: torch.as_tensor(table, dtype=torch.bool) for label, table in silenced.items()}
    _refuse(network, layers, tables)
    silencers = {label: _Silencer(label) for label in tables}
    handles = [
        module.register_forward_hook(silencer)
        for label, silencer in silencers.items()
        for module in (network.get_submodule(layers[label]), *frozen_copies(network, layers[label]))
    ]
    step, n = max(1, AT_ONCE // len(x)), len(next(iter(tables.values())))
    found = []
    try:
        with undisturbed(network), torch.no_grad():
            for start in range(0, n, step):
                for label, table in tables.items():
                    silencers[label].silenced = table[start : start + step].to(x.device)
                lesions = min(step, n - start)
                outputs = network(x.repeat(lesions, *[1] * (x.ndim - 1)))
                found.append(outputs.unflatten(0, (lesions, len(x))))
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(found)


@torch.no_grad()
def unit_activity(network: nn.Module, layers: Mapping[str, str], x: Tensor) -> dict[str, Tensor]:
    """What the units that can be silenced do, by layer: (examples, positions, units).

    Positions are those of feature maps and sequences, of all calls of the nonlinearity.
    """
    check_layers(network, layers)
    with undisturbed(network), torch.no_grad():
        _, seen = watched(network, layers, x, _by_position)
    return {label: torch.cat(calls, dim=1) for label, calls in seen.items()}


def _by_position(output: Tensor) -> Tensor:
    units_last = _units_last(output)
    return units_last.reshape(len(output), -1, units_last.shape[-1])


def _channels_first(output: Tensor) -> bool:
    """Feature maps have their channels before the positions, sequences of vectors after them."""
    return output.ndim > 3


def _units_last(output: Tensor) -> Tensor:
    return output.movedim(1, -1) if _channels_first(output) else output


def _refuse(network: nn.Module, layers: Mapping[str, str], tables: Mapping[str, Tensor]) -> None:
    unknown = sorted(set(tables) - set(layers))
    if unknown:
        raise DataError(
            f"lesions: expected layers of {', '.join(layers)}, found {unknown[0]!r}; choose one of them"
        )
    check_layers(network, {label: layers[label] for label in tables})
    shapes = {label: tuple(table.shape) for label, table in tables.items()}
    lengths = {shape[0] if len(shape) == 2 else None for shape in shapes.values()}
    if len(lengths) != 1 or lengths & {None, 0}:
        raise DataError(
            f"lesions: expected tables lesions × units with the same number of lesions, and some; found {shapes}"
        )
