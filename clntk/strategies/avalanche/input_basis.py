"""Bases of the inputs that each layer has had, to which no later step of its weights may respond."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clntk.kernels.rules import patches
from clntk.strategies.avalanche.per_task import bare
from clntk.strategies.avalanche.steps import EachStep, phase_examples

Layer = nn.Linear | nn.Conv1d | nn.Conv2d
NEGLIGIBLE = 1e-5  # of the inputs' norm: a direction that holds less is rounding


class InputBasis(EachStep):
    """Gradient projection memory.

    Args:
        threshold: share of the inputs' squared norm that a basis holds after the first phase.
        increase: what the share grows by with each phase.
        samples: examples drawn after each phase.
        free_readout: whether the last layer is left alone.
    """

    def __init__(self, threshold: float, increase: float, samples: int, *, free_readout: bool) -> None:
        super().__init__()
        self.threshold, self.increase, self.samples = threshold, increase, samples
        self.free_readout = free_readout
        self.bases: dict[str, Tensor] = {}  # layer → inputs (with the 1 of the bias) × directions

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        start = dict(zip(_trained_names(strategy.model), self._start, strict=True))
        for name, basis in self.bases.items():
            project(name, _layers(strategy.model)[name], start, basis)

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        x, _, tasks = phase_examples(strategy)
        chosen = torch.randperm(len(x))[: self.samples].to(x.device)
        layers = _layers(strategy.model)
        if self.free_readout:
            layers.popitem()
        strategy.model.eval()
        seen = inputs_of(layers, *bare(strategy.model, x[chosen], tasks[chosen]))
        strategy.model.train()
        share = min(1.0, self.threshold + self.increase * strategy.clock.train_exp_counter)
        for name, inputs in seen.items():
            self.bases[name] = grown(self.bases.get(name), inputs, share)

    def state_dict(self) -> dict[str, Any]:
        return {"bases": self.bases}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bases = dict(state["bases"])


def _trained_names(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def _layers(model: nn.Module) -> dict[str, Layer]:
    """Name → layers with a trained weight, in the order in which they are registered (read-out last)."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    trained = set(_trained_names(model))
    return {
        name: m for name, m in model.named_modules() if isinstance(m, kinds) and f"{name}.weight" in trained
    }


def inputs_of(layers: Mapping[str, Layer], network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What each layer multiplies its weights with: inputs (with a 1 for the bias) × examples or positions."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, module: Layer, given: Tensor) -> None:
        rows = _rows(module, given)
        if module.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        seen[name].append(rows.T)

    handles = [
        module.register_forward_pre_hook(lambda m, inputs, name=name: keep(name, m, inputs[0]))
        for name, module in layers.items()
    ]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(calls, dim=1) for name, calls in seen.items()}


def _rows(module: Layer, x: Tensor) -> Tensor:
    """Rows that one row of the weight matrix acts on."""
    if isinstance(module, nn.Linear):
        return x.reshape(-1, module.in_features)
    return patches(module, x).transpose(1, 2).flatten(0, 1)


def grown(basis: Tensor | None, inputs: Tensor, share: float) -> Tensor:
    """The basis with as few new directions as hold, with the old ones, a share of the inputs' squared norm.

    Args:
        basis: orthonormal columns, dimensions × directions, or None.
        inputs: dimensions × samples.
        share: in (0, 1].
    """
    r = inputs.double()
    old = r.new_zeros(len(r), 0) if basis is None else basis.double()
    total = r.square().sum()
    rest = r - old @ (old.T @ r)
    directions, sizes, _ = torch.linalg.svd(rest, full_matrices=False)
    held = (total - rest.square().sum() + sizes.square().cumsum(0)) / total
    already = (total - rest.square().sum()) / total
    k = 0 if already >= share else int((held < share).sum()) + 1
    fresh = directions[:, :k][:, sizes[:k] > NEGLIGIBLE * total.sqrt()]
    fresh = torch.linalg.qr(fresh - old @ (old.T @ fresh)).Q  # the old basis was rounded when it was stored
    return torch.cat([old, fresh], dim=1).to(inputs.dtype)


def project(name: str, module: Layer, start: dict[str, Tensor], basis: Tensor) -> None:
    """Take from a layer's step since ``start`` what responds to inputs in the span of the basis."""
    weight = start[f"{name}.weight"]
    step = (module.weight - weight).flatten(1)
    if module.bias is not None:
        step = torch.cat([step, (module.bias - start[f"{name}.bias"])[:, None]], dim=1)
    step = step - (step @ basis) @ basis.T
    if module.bias is not None:
        module.bias.copy_(start[f"{name}.bias"] + step[:, -1])
        step = step[:, :-1]
    module.weight.copy_(weight + step.view_as(weight))
