"""Downloads, on request only: with a progress bar and a checksum, both torchvision's."""

from pathlib import Path
from typing import cast

from clntk.errors import DataError, UnknownName, did_you_mean
from clntk.streams.data.load import Dataset, load
from clntk.streams.data.part import data_folder

TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
FETCHED = [*TORCHVISION, "tiny_imagenet"]


def fetch(name: str, root: Path | None = None) -> Path:
    """Download a dataset into a data root unless it is there; returns the folder.

    Args:
        name: mnist, fashion_mnist, cifar10, cifar100 or tiny_imagenet.
        root: the folder of datasets; by default ``$CLNTK_DATA``, else ``./data``.

    Raises:
        UnknownName: for a dataset that is not one of these.
        DataError: if the download fails, or its checksum differs from the published one.
        OSError: if the folder cannot be written to.
    """
    folder = data_folder(root)
    if name in ("digits", "mnist5000"):
        raise UnknownName(
            f"{name} comes with a Python package and needs no download; fetched: {', '.join(FETCHED)}"
        )
    if name not in FETCHED:
        raise UnknownName(
            f"no dataset to fetch is called {name!r}; {did_you_mean(name, FETCHED)} known: {', '.join(FETCHED)}"
        )
    dataset = cast(Dataset, name)  # one of FETCHED
    try:
        load(dataset, root)
        return folder
    except DataError:  # absent or damaged
        pass
    folder.mkdir(
        parents=True, exist_ok=True
    )  # here, so that a refusal of the disk is not taken for the network's
    try:
        _download(name, folder)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"data: could not fetch {name} into {folder}: {error}; check the network and run the same command again, "
            "or copy the files from where you have them"
        ) from error
    load(dataset, root)
    return folder


def _download(name: str, folder: Path) -> None:
    import torchvision
    from torchvision.datasets.utils import download_and_extract_archive

    if name in TORCHVISION:
        getattr(torchvision.datasets, TORCHVISION[name])(folder, download=True)
        return
    download_and_extract_archive(TINY_IMAGENET, folder, md5=TINY_IMAGENET_MD5)
