"""Patches of a kernel: the products of some examples with others, here or in another process."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clntk.kernels.costs import Method
from clntk.kernels.precision import full_precision
from clntk.kernels.request import Request, Shares, all_groups
from clntk.kernels.route import aligned


@dataclass(frozen=True)
class StoredInputs:
    """Inputs in a file that all processes see, of which each reads the examples that it needs.

    Args:
        file: in the format of safetensors.
        name: within the file.
        device: where they are wanted.
    """

    file: Path
    name: str
    device: torch.device

    def __getitem__(self, examples: slice) -> Tensor:
        with safe_open(self.file, framework="pt") as file:
            return file.get_slice(self.name)[examples].to(self.device)


Inputs = Tensor | StoredInputs


@dataclass
class Patches:
    """Patches of one kernel; the shares of the last few ranges of examples are kept, as neighbours need them again.

    Args:
        request: what kernel.
        x1, x2: the inputs of both sides; one side stands for both without ``x2``.
        kept: how many ranges.
    """

    request: Request
    x1: Inputs
    x2: Inputs | None
    kept: int
    _sides: OrderedDict[tuple, Shares] = field(default_factory=OrderedDict, repr=False)

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        """The kernel of the examples ``rows`` of the first side and ``columns`` of the second."""

        def sides(way: Method) -> tuple[Shares, Shares]:
            left, right = self._side(1, rows, way), self._side(1 if self.x2 is None else 2, columns, way)
            if aligned(left, right, self.request.names) is None:
                self._sides.clear()
            return left, right

        same = self.x2 is None and rows == columns
        with full_precision():
            left, right = self.request.both(sides)
            return self.request.kernel(all_groups(left), all_groups(right), symmetric=same).cpu().numpy()

    def _side(self, side: int, examples: slice, way: Method) -> Shares:
        key = (side, examples.start, examples.stop, way)
        if key not in self._sides:
            x = self.x1 if side == 1 else self.x2
            assert x is not None  # or there is one side alone
            while len(self._sides) >= self.kept:  # before there is one more: memory is what is short
                self._sides.popitem(last=False)
            # a copy: how an array lies in memory changes the last bits of what is made of it
            self._sides[key] = self.request.shares(x[examples].clone(), way)
        self._sides.move_to_end(key)
        return self._sides[key]

    @contextmanager
    def shared(self, file: Path) -> Iterator["Patches"]:
        """The same for other processes: their inputs lie in a file meanwhile, and are not sent with every patch."""
        # those that lie in a file already stay there
        sides = {name: x for name, x in (("x1", self.x1), ("x2", self.x2)) if isinstance(x, Tensor)}
        try:
            save_file({name: x.detach().cpu().contiguous() for name, x in sides.items()}, file)
            stored = {name: StoredInputs(file.absolute(), name, x.device) for name, x in sides.items()}
            x1, x2 = stored.get("x1", self.x1), stored.get("x2", self.x2)
            yield replace(self, x1=x1, x2=x2, _sides=OrderedDict())
        finally:
            file.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_sides": OrderedDict()}
