"""What orthogonal gradient descent kept of a published run's tasks: directions, rebuilt, and what became of logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from clntk.axes import CHECKPOINT, EVAL_TASK, OUTPUT
from clntk.measures.kept import KEPT
from clntk.runs.opened import Run
from clntk.runs.training_data import KEEPING, Logits, kept_logits
from clntk.strategies.directions import extended, logit_gradients, principal
from clntk.strategies.gradients import example_gradients, flat, trained, unflat
from clntk.strategies.training import OUTSIDE


@dataclass(frozen=True)
class Directions:
    """Orthonormal directions that no step of a run moves along; none, for a strategy that keeps none.

    Args:
        basis: directions × trained parameters, in double precision.
    """

    basis: Tensor | None = None

    def with_phase(self, run: Run, network: nn.Module, logits: Logits) -> "Directions":
        """Those of one more phase, by the gradients that a network has: as ``GradientBasis`` adds them.

        Args:
            run: whose strategy says how many, and whether by principal parts.
            network: in double precision and eval mode.
            logits: drawn after that phase.
        """
        options: dict[str, Any] = run.spec.strategy
        if options["name"] not in KEEPING:
            return self
        rows = logit_gradients(network, logits.x.double(), logits.outputs, run.probe_sets.stream.outputs)
        if options["name"] == "pca_ogd":
            rows = principal(rows, options["gradients"])
        return Directions(extended(self.basis, rows))

    def overlaps(self, network: nn.Module, x: Tensor, outputs: int) -> Tensor | None:
        """Inner products with the gradients of all logits: (examples · outputs, directions).

        Args:
            network: as above.
            x: examples.
            outputs: logits of each.
        """
        if self.basis is None:
            return None
        each = torch.eye(outputs, dtype=self.basis.dtype).expand(len(x), -1, -1)
        columns = [
            torch.cat([rows @ self.basis.T for rows in example_gradients(network, x, each[:, c])])
            for c in range(outputs)
        ]
        return torch.stack(columns, dim=1).flatten(0, 1)

    def leave_out(self, network: nn.Module, moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A change of weights without its part along the directions.

        Args:
            network: whose parameters they are.
            moved: parameter → Δθ.
        """
        if self.basis is None or not moved:
            return dict(moved)
        parts = [moved[name] for name in trained(network)]
        step = flat(parts)
        left = step - self.basis.T @ (self.basis @ step)
        return dict(zip(trained(network), unflat(left, parts), strict=True))


def kept_outputs(run: Run) -> xr.Dataset:
    """The logits whose gradients a strategy kept, on their training examples, at every checkpoint.

    Of a strategy that keeps none, all that ``ogd`` would draw from: see :func:`~clntk.runs.training_data.kept_logits`.

    Returns:
        ``logit`` and ``loss`` (checkpoint, kept), in double precision: the logit's own ½(f − y)² for squared errors, or
        the loss of its example, where no part of it is a single logit's; ``since`` (kept,), the label of the checkpoint
        at which it was kept, and ``before``, that of the one before; coordinate ``eval_task``, the example's task.

    Raises:
        StoreError: as :func:`~clntk.runs.training_data.kept_logits` does.
    """
    phases, labels = kept_logits(run), run.checkpoints
    rows = []
    for label in labels:
        network = run.network(label, dtype=torch.float64)
        parts = [_logits_and_losses(run, network, logits) for logits in phases]
        rows.append([torch.cat(part).numpy() for part in zip(*parts, strict=True)])
    names = run.probe_sets.stream.task_names
    since = [label for label, part in zip(labels[1:], phases, strict=True) for _ in part.outputs]
    before = [label for label, part in zip(labels, phases, strict=False) for _ in part.outputs]
    tasks = [names[t] for part in phases for t in part.tasks.tolist()]
    logit, loss = zip(*rows, strict=True)
    return xr.Dataset(
        {
            "logit": ((CHECKPOINT, KEPT), list(logit)),
            "loss": ((CHECKPOINT, KEPT), list(loss)),
            "since": (KEPT, since),
            "before": (KEPT, before),
        },
        coords={
            CHECKPOINT: labels,
            EVAL_TASK: (KEPT, tasks),
            OUTPUT: (KEPT, torch.cat([part.outputs for part in phases]).numpy()),
        },
    )


@torch.no_grad()
def _logits_and_losses(run: Run, network: nn.Module, logits: Logits) -> tuple[Tensor, Tensor]:
    sets = run.probe_sets
    f = network(logits.x.double())
    rows = torch.arange(len(f))
    own = f[rows, logits.outputs]
    if sets.loss.name.endswith("squared_error"):
        y = logits.y
        target = (y == logits.outputs).double() if y.dtype == torch.long else y[rows, logits.outputs].double()
        return own, 0.5 * (own - target).square()
    if sets.heads is not None:
        f = f.masked_fill(~sets.heads[logits.tasks], OUTSIDE)
    return own, sets.loss.each(f, logits.y.double() if logits.y.is_floating_point() else logits.y)
