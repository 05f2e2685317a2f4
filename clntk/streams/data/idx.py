"""MNIST and Fashion-MNIST from idx files, compressed or not, wherever an installation puts them."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from clntk.errors import DataError
from clntk.streams.data.part import Part, data_folder, from_bytes, missing

FILES = {part: (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")}
SIDE = 28
DEBIAN = Path(
    "/usr/share/dataset-fashion-mnist"
)  # where the package dataset-fashion-mnist puts its .gz files


def idx_dataset(name: str, folder: str, root: Path | None) -> tuple[Part, Part]:
    """Training and test set of a dataset in MNIST's layout.

    Args:
        name: as protocols know it.
        folder: torchvision's folder for it, inside the data root.
        root: the data root.

    Raises:
        DataError: if a file is nowhere, damaged, or holds images of another size.
    """
    places = [data_folder(root) / folder / "raw", data_folder(root) / folder, data_folder(root)]
    if name == "fashion_mnist":
        places.append(DEBIAN)
    wanted = [file for pair in FILES.values() for file in pair]
    for place in places:
        found = [path for file in wanted if (path := _present(place, file)) is not None]
        if len(found) == len(wanted):
            images, labels, test_images, test_labels = map(read_idx, found)
            return _part(place, images, labels), _part(place, test_images, test_labels)
    besides = " (or, on Debian, apt install dataset-fashion-mnist)" if name == "fashion_mnist" else ""
    raise missing(name, places, [f"{file}[.gz]" for file in wanted], besides=besides)


def read_idx(path: Path) -> np.ndarray:
    """The bytes of an idx file in the shape that its header gives; a name that ends in .gz is read compressed.

    Raises:
        DataError: if it is no idx file of bytes, or shorter than its header says.

    Source: the format is described at the end of LeCun's MNIST page: two zeros, type (8: bytes), number of
    dimensions, each size as a big-endian 32-bit integer, then the values.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data: could not read {path}: {error}; delete it and fetch it again") from error
    start = 4 + 4 * data[3] if data[:3] == b"\x00\x00\x08" and len(data) > 3 else len(data)
    header, values = data[4:start], np.frombuffer(data[start:], dtype=np.uint8)
    shape = tuple(np.frombuffer(header[: len(header) // 4 * 4], dtype=">i4").tolist())
    if start == len(data) or len(header) != start - 4 or len(values) != math.prod(shape):
        raise DataError(
            f"data: {path}: expected an idx file of bytes, found {len(data)} bytes that are not one, or not all of "
            "one; delete it and fetch it again"
        )
    return values.reshape(shape)


def _present(place: Path, file: str) -> Path | None:
    for path in (place / file, place / f"{file}.gz"):
        if path.is_file():
            return path
    return None


def _part(place: Path, images: np.ndarray, labels: np.ndarray) -> Part:
    if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
        raise DataError(
            f"data: {place}: expected images of {SIDE} × {SIDE} pixels with one label each, "
            f"found {images.shape} and {labels.shape}"
        )
    return from_bytes(images[:, None], labels)
