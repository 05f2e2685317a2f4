"""A run's last task boundary on disk: enough to go on as if nothing had happened, to the bit."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises; nothing is unpickled
from typing import Any, cast

import numpy as np
import torch

from clntk.errors import ClntkError
from clntk.runs.files import write_atomic


def generator_state() -> dict[str, Any]:
    """The states of all global generators that training may draw from, as plain values and tensors."""
    state = np.random.get_state()  # noqa: NPY002  (Avalanche draws from it)
    # numpy's stubs have it a dictionary too, which it is not unless asked for
    kind, keys, position, has_gauss, cached = cast(tuple[str, np.ndarray, int, int, float], state)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def set_generator_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


@contextmanager
def callers_generators() -> Iterator[None]:
    """Whatever is drawn or seeded inside, the global generators are afterwards as they were."""
    before = generator_state()
    try:
        yield
    finally:
        set_generator_state(before)


def seed_generators(seed: int) -> None:
    """Start all global generators from one seed."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace what is saved of a task boundary in one step: plain values and tensors."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, work: Path) -> dict[str, Any]:
    """Read what was saved; tensors and plain values only, nothing that could execute.

    Args:
        path: the file.
        work: the folder of the run in progress.

    Raises:
        ClntkError: if it is damaged.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise ClntkError(
            f"{path}: expected what the run saved at a task boundary, found a damaged file "
            f"({type(error).__name__}); delete {work} and run the same command again: this run then starts anew"
        ) from error
