"""Minibatches cut from tensors in memory, in exactly the order in which Avalanche's own loaders would give them."""

from collections.abc import Iterable, Iterator

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_loader import MultiDatasetDataLoader
from torch import Tensor

from clntk.streams.avalanche.benchmark import TensorTask

Batch = list[Tensor]


def dataset_tensors(dataset: AvalancheDataset) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and task labels of an Avalanche dataset.

    Only for datasets without random transformations, as all of this package's streams are: such a stream's tensors are
    taken as they lie, and those of another dataset example by example.
    """
    whole = _whole(dataset)
    if whole is not None:
        return whole
    rows = [dataset[i] for i in range(len(dataset))]
    return (
        torch.stack([row[0] for row in rows]),
        torch.stack([torch.as_tensor(row[1]) for row in rows]),
        torch.as_tensor([row[2] for row in rows]),
    )


def _whole(dataset: AvalancheDataset) -> tuple[Tensor, Tensor, Tensor] | None:
    """What :func:`dataset_tensors` gives, if the dataset is made of this package's tensors and shows it by examples."""
    data, labels = getattr(dataset, "_flat_data", None), getattr(dataset, "targets_task_labels", None)
    parts = getattr(data, "_datasets", ())
    if data is None or labels is None or not parts or any(type(part) is not TensorTask for part in parts):
        return None
    columns = zip(*(part.tensors for part in parts), strict=True)
    x, y = (column[0] if len(parts) == 1 else torch.cat(column) for column in columns)
    if data._indices is not None:
        index = torch.as_tensor(list(data._indices))
        x, y = x[index], y[index]
    n = len(dataset)
    tasks = (
        sorted(labels.uniques) * n if len(labels.uniques) == 1 else list(labels)
    )  # the list is slow to make
    found = x, y, torch.as_tensor(tasks)
    for i in {0, n // 3, n // 2, n - 1}:
        row = dataset[i]
        if (
            len(x) != n
            or len(row) != 3
            or not all(torch.equal(t[i], torch.as_tensor(v)) for t, v in zip(found, row, strict=True))
        ):
            return None
    return found


def _draw(source: torch.Generator, times: int = 1) -> int:
    """The last of some 64-bit draws, of which torch's DataLoader and RandomSampler each make one an epoch."""
    return int(torch.empty(times, dtype=torch.int64).random_(generator=source)[-1])


class TensorLoader:
    """Minibatches of a dataset held in tensors.

    Shuffling draws from the global generator exactly what a stock loader draws, so that a run with this loader
    ends in bit-identical weights.

    Args:
        dataset: what to iterate over.
        batch_size: examples a minibatch.
        device: where the minibatches lie.
        shuffle: a new order each epoch.
        pure: each minibatch holds examples of one task only; the order of minibatches is shuffled.
    """

    def __init__(
        self,
        dataset: AvalancheDataset,
        *,
        batch_size: int,
        device: torch.device,
        shuffle: bool = True,
        pure: bool = False,
    ) -> None:
        self.tensors = tuple(t.to(device) for t in dataset_tensors(dataset))
        self.batch_size, self.shuffle, self.pure = batch_size, shuffle, pure
        self._order = torch.Generator()

    def __len__(self) -> int:
        return len(self._batches(torch.arange(len(self.tensors[0])), None))

    def __iter__(self) -> Iterator[Batch]:
        for index in self.indices(torch.default_generator):
            yield [tensor[index] for tensor in self.tensors]

    def indices(self, source: torch.Generator) -> list[Tensor]:
        """The examples of each minibatch of an epoch, in an order drawn from a generator."""
        # the base seed that a DataLoader draws for its workers, whether it has any or not, and that of the order
        return self.ordered_by(_draw(source, 1 + self.shuffle))

    def ordered_by(self, seed: int) -> list[Tensor]:
        """The examples of each minibatch of an epoch whose order has this seed."""
        n = len(self.tensors[0])
        if not self.shuffle:
            return self._batches(torch.arange(n), None)
        generator = self._order.manual_seed(seed)
        return self._batches(torch.randperm(n, generator=generator), generator)

    def _batches(self, order: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        if not self.pure:
            return [order] if len(order) <= self.batch_size else list(order.split(self.batch_size))
        task = self.tensors[2].cpu()[order]
        batches = [b for t in task.unique() for b in order[task == t].split(self.batch_size)]
        if generator is None:
            return batches
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


class EpochsAhead:
    """The orders of a shuffling loader's epochs, whose seeds are drawn many at a time.

    Args:
        loader: whose epochs they are.
        source: the generator to draw from; :meth:`settle` leaves it where drawing one by one would have.
    """

    MANY = 64

    def __init__(self, loader: TensorLoader, source: torch.Generator) -> None:
        self.loader, self.source = loader, source
        self._before, self._used = source.get_state(), 0
        self._seeds: list[int] = []

    def __next__(self) -> list[Tensor]:
        """The examples of each minibatch of the next epoch."""
        if self._used == len(self._seeds):
            self._before, self._used = self.source.get_state(), 0
            drawn = torch.empty(self.MANY, 2, dtype=torch.int64).random_(generator=self.source)
            self._seeds = drawn[:, 1].tolist()
        self._used += 1
        return self.loader.ordered_by(self._seeds[self._used - 1])

    def settle(self) -> None:
        """Give back the draws that no epoch has used."""
        self.source.set_state(self._before)
        if self._used:
            _draw(self.source, 2 * self._used)


class IndexedLoader:
    """One of Avalanche's own loaders (replay's, say), its minibatches cut from tensors by its own index sampler."""

    def __init__(self, loader: MultiDatasetDataLoader, device: torch.device) -> None:
        self.loader = loader
        parts = [dataset_tensors(dataset) for dataset in loader.datasets]
        self.tensors = tuple(torch.cat(columns).to(device) for columns in zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        _draw(torch.default_generator)
        for index in self.loader._get_loader().batch_sampler:
            chosen = torch.as_tensor(index)
            yield [tensor[chosen] for tensor in self.tensors]


def in_memory(loader: Iterable[Batch], device: torch.device) -> Iterable[Batch]:
    """The loader itself if it is one of ours or unknown, or its in-memory twin if it is Avalanche's."""
    return IndexedLoader(loader, device) if isinstance(loader, MultiDatasetDataLoader) else loader
