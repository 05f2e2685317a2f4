"""One forward pass and one backward pass an output: what every module saw, and how each logit moves with its output.

The backward pass stops at the modules' outputs (gradient edges), so that no gradient of a weight is ever formed. Edges
are kept rather than tensors: an activation that works in place does not disturb them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from clntk.kernels.rules import Call


class NotHooked(Exception):
    """A module whose calls cannot be read as (examples, …) → (examples, …)."""

    def __init__(self, module: nn.Module, output: Tensor) -> None:
        self.module = module
        super().__init__(f"its output of shape {tuple(output.shape)} is not indexed by example first.")


def calls_of(
    model: nn.Module, modules: Iterable[nn.Module], x: Tensor, directions: Tensor | None = None
) -> tuple[Tensor, dict[nn.Module, list[Call]]]:
    """The logits (N, C), and the calls of each module on the examples ``x``.

    Args:
        model: the network.
        modules: those to watch.
        x: N inputs.
        directions: (k, C); the gradients are then of these k sums of logits, in the place of the C logits.

    Raises:
        NotHooked: if a module's input or output is not one tensor indexed by example first.
    """
    seen: dict[nn.Module, list[tuple[Tensor, object, torch.Size]]] = {module: [] for module in modules}
    with _frozen(model), torch.enable_grad():
        root = torch.zeros((), dtype=_float_dtype(model, x), device=x.device, requires_grad=True)

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not inputs or output.ndim < 2 or len(output) != len(x) or len(inputs[0]) != len(x):
                raise NotHooked(module, output)
            if (
                not output.requires_grad
            ):  # nothing before it is differentiable: give it something to hang on to
                output = output + root
            seen[module].append((inputs[0].detach(), get_gradient_edge(output), output.shape))
            return output

        handles = [module.register_forward_hook(keep) for module in seen]
        try:
            outputs = model(x)
        finally:
            for handle in handles:
                handle.remove()
        flat = [(module, *call) for module, calls in seen.items() for call in calls]
        columns = list(_grads(outputs, directions, [edge for _, _, edge, _ in flat]))
    found: dict[nn.Module, list[Call]] = {module: [] for module in seen}
    for i, (module, inputs, _, shape) in enumerate(flat):
        grads = (column[i] for column in columns)
        found[module].append(Call(inputs, tuple(outputs.new_zeros(shape) if g is None else g for g in grads)))
    return outputs.detach(), found


def _grads(outputs: Tensor, directions: Tensor | None, edges: list) -> Iterator[tuple[Tensor | None, ...]]:
    """For each output c, the gradients of Σ_n f_c(x_n): examples do not couple, so each gets its own."""
    if not edges:
        return
    seen = outputs if directions is None else outputs @ directions.to(outputs).T
    for c in range(seen.shape[1]):
        yield torch.autograd.grad(seen[:, c].sum(), edges, retain_graph=True, allow_unused=True)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient inside; afterwards those that did do again."""
    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def _float_dtype(model: nn.Module, x: Tensor) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), x.dtype)
