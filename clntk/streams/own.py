"""A user's own data as a stream, in one call."""

from collections.abc import Sequence, Sized
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from clntk.errors import DataError
from clntk.seeding import Purpose, Seeds
from clntk.streams.base import Accuracy, Split, Task, TaskStream
from clntk.streams.draws import draw_probe, draws

MOST_PROBES = 32


def stream_from(
    datasets: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    test: float | None = None,
    n_probe: int | None = None,
    outputs: int | None = None,
    accuracy: Accuracy | None = None,
    seed: int | Seeds = 0,
) -> TaskStream:
    """A task stream from one's own datasets: classification for integer targets, regression for float targets.

    ::

        stream = clntk.stream_from([(train_a, test_a), (train_b, test_b)], names=["A", "B"])
        stream = clntk.stream_from([(x_a, y_a), (x_b, y_b)], test=0.2)

    In a file of components, return it from a registered function to use it in protocols, with every option that all
    streams have: ``@register("stream") def mine(seeds): return clntk.stream_from(..., seed=seeds)``.

    Args:
        datasets: for each task a pair (training set, test set); with ``test``, one set to be split. A set is a torch
            ``Dataset`` of pairs (input, target), or a pair of NumPy arrays or tensors (examples × features…;
            targets: examples, or examples × outputs).
        names: of the tasks; by default task0, task1, ….
        test: share in (0, 1) of each task's examples that is held out for testing.
        n_probe: probes of each task, drawn from its test set; by default 32, or the smallest test set if that is
            less.
        outputs: how many outputs a network needs; by default as many as the targets use.
        accuracy: see :class:`~clntk.streams.base.TaskStream`; by default there is none for float targets.
        seed: draws probes and the examples held out.

    Raises:
        DataError: for fewer than two tasks, sets that are none, mixed targets, and all that a stream refuses.
    """
    seeds = seed if isinstance(seed, Seeds) else Seeds(seed)
    names = [f"task{t}" for t in range(len(datasets))] if names is None else list(names)
    if len(names) != len(datasets):
        raise DataError(f"stream_from: expected a name for each of {len(datasets)} tasks, found {len(names)}")
    pairs = [_train_and_test(data, test, name, seeds) for name, data in zip(names, datasets, strict=True)]
    kinds = {part.y.is_floating_point() for pair in pairs for part in pair}
    if len(kinds) > 1:
        raise DataError(
            "stream_from: expected either integer labels or float values in all sets, found both; convert one"
        )
    if n_probe is None:
        n_probe = min([MOST_PROBES, *(len(held) for _, held in pairs)])
    probes = seeds.torch(Purpose.PROBE)
    tasks = tuple(
        Task(name, train, held, draw_probe(held, n_probe, probes))
        for name, (train, held) in zip(names, pairs, strict=True)
    )
    target: Literal["class", "value"] = "value" if True in kinds else "class"
    return TaskStream(tasks, outputs=outputs, target=target, accuracy=accuracy)


def _train_and_test(data: Any, share: float | None, name: str, seeds: Seeds) -> tuple[Split, Split]:
    if share is None:
        if not _is_pair(data) or _is_array(data[0]):
            raise DataError(
                f"stream_from: {name}: expected a pair of a training set and a test set, found {_found(data)}; "
                "or give the share to hold out, such as test=0.2"
            )
        return _split(data[0], f"training set of {name}"), _split(data[1], f"test set of {name}")
    if not 0 < share < 1:
        raise DataError(f"stream_from: test: expected a share in (0, 1), found {share}")
    whole = _split(data, name)
    held = round(share * len(whole))
    if not 0 < held < len(whole):
        raise DataError(
            f"stream_from: {name}: expected examples to train on and to test on, found {len(whole)} in all and "
            f"test={share}"
        )
    order = torch.as_tensor(draws(seeds, f"test set of {name}").permutation(len(whole)))
    return whole.subset(order[held:]), whole.subset(order[:held])


def _split(data: Any, where: str) -> Split:
    """Inputs as floats on their own scale, labels as integers, values as floats with a column for each output."""
    if isinstance(data, TensorDataset):
        data = data.tensors
    elif isinstance(data, Dataset):
        data = _read(data, where)
    if not _is_pair(data) or not all(map(_is_array, data)):
        raise DataError(
            f"stream_from: {where}: expected a torch Dataset, or a pair of arrays (inputs, targets), "
            f"found {_found(data)}"
        )
    x, y = (_tensor(values, where) for values in data)
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
        raise DataError(
            f"stream_from: {where}: expected inputs (examples × features…) and as many targets, "
            f"found shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if y.is_floating_point():
        return Split(x.float(), y.float() if y.ndim > 1 else y.float()[:, None])
    return Split(x.float(), (y.squeeze(1) if y.ndim == 2 and y.shape[1] == 1 else y).long())


def _read(data: Dataset, where: str) -> tuple[Tensor, Tensor]:
    """All of a dataset, example by example: random transformations are frozen as they come out."""
    try:
        rows = [data[i] for i in range(len(cast(Sized, data)))]  # one without a length is refused, too
        x, y = (torch.stack([torch.as_tensor(row[k]) for row in rows]) for k in (0, 1))
        return x, y
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
        raise DataError(
            f"stream_from: {where}: expected a dataset of pairs (input, target) that are numbers, all of one shape: "
            f"{error}; images need a transformation to tensors"
        ) from error


def _tensor(values: Any, where: str) -> Tensor:
    try:
        return torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError) as error:
        raise DataError(f"stream_from: {where}: expected numbers, found {values.dtype}: {error}") from error


def _is_array(data: Any) -> bool:
    return isinstance(data, np.ndarray | Tensor)


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2


def _found(data: Any) -> str:
    if isinstance(data, tuple | list):
        return f"{len(data)} of {', '.join(sorted({type(part).__name__ for part in data}))}"
    return type(data).__name__
