"""A read-out solved for, in the place of the optimizer's step."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clntk.errors import DataError
from clntk.strategies.avalanche.steps import EachStep


def least_change(features: np.ndarray, residuals: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """The smallest W that minimises ½‖Φ W − R‖² + ½ρ‖W‖².

    Args:
        features: Φ, of shape (examples, features).
        residuals: R, of shape (examples, outputs).
        ridge: ρ.

    Returns:
        of shape (features, outputs).
    """
    if ridge:
        features = np.concatenate([features, np.sqrt(ridge) * np.eye(features.shape[1])])
        residuals = np.concatenate([residuals, np.zeros((features.shape[1], residuals.shape[1]))])
    return np.linalg.lstsq(features, residuals, rcond=None)[0]


class SolveReadout(EachStep):
    """Takes the optimizer's step on a whole phase to where least squares would have it.

    Args:
        readout: the only layer that is trained; its output is the network's.
        ridge: see :func:`least_change`.
    """

    def __init__(self, readout: nn.Linear, ridge: float) -> None:
        super().__init__()
        self.readout, self.ridge = readout, ridge
        self._change: np.ndarray | None = None

    @torch.no_grad()
    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        super().before_update(strategy)
        features, f = self._features(strategy.model, strategy.mb_x)
        y = strategy.mb_y
        targets = nn.functional.one_hot(y, f.shape[1]) if y.dtype == torch.long else y
        if self.readout.bias is not None and self.readout.bias.requires_grad:
            features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
        inputs, residuals = (part.double().cpu().numpy() for part in (features, targets - f))
        self._change = least_change(inputs, residuals, self.ridge)

    def _features(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        handle = self.readout.register_forward_hook(
            lambda _, inputs, output: seen.extend([inputs[0], output])
        )
        try:
            f = model(x)
        finally:
            handle.remove()
        if len(seen) != 2 or not torch.allclose(seen[1], f):
            raise DataError(
                "strategy least_squares: expected the read-out's output to be the network's, found that it is changed "
                "afterwards; use a regime that does not scale or shift outputs, such as standard"
            )
        return seen[0], f

    def stepped(self, parameters: list[nn.Parameter], start: list[Tensor]) -> None:
        change = self._change
        assert change is not None  # found before the update
        for parameter, before in zip(parameters, start, strict=True):
            rows = change[-1] if parameter is self.readout.bias else change[: self.readout.in_features].T
            parameter.copy_(before + torch.from_numpy(np.ascontiguousarray(rows)).to(before))
