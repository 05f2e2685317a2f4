"""TinyImageNet from its folders: 200 classes, 64 × 64 pixels in colour."""

from pathlib import Path

import numpy as np

from clntk.errors import DataError
from clntk.streams.data.part import Part, data_folder, missing

FOLDER = "tiny-imagenet-200"
SIDE = 64
LISTS = ("wnids.txt", "val/val_annotations.txt")


def tiny_imagenet(root: Path | None) -> tuple[Part, Part]:
    """Its training set, and its validation set as the test set, for the labels of its own test set are not public.

    Labels are the places of the WordNet ids in the sorted list. Images are decoded when they are read.

    Raises:
        DataError: if a list or a folder is not there, or names a class or an image that is not.
    """
    home = data_folder(root) / FOLDER
    if not all((home / name).is_file() for name in LISTS):
        raise missing("tiny_imagenet", [home], [*LISTS, "train/", "val/images/"])
    classes = {wnid: k for k, wnid in enumerate(sorted((home / "wnids.txt").read_text().split()))}
    train, test = [], []
    for wnid, label in classes.items():
        files = sorted((home / "train" / wnid / "images").glob("*.JPEG"))
        if not files:
            raise DataError(f"data: expected images in {home / 'train' / wnid / 'images'}, found none")
        train += [(path, label) for path in files]
    for line in (home / "val" / "val_annotations.txt").read_text().splitlines():
        file, wnid = line.split("\t")[:2]
        if wnid not in classes:
            raise DataError(f"data: {home}: expected classes of wnids.txt, found {wnid!r} of {file}")
        test.append((home / "val" / "images" / file, classes[wnid]))
    return _part(train), _part(test)


def _part(files: list[tuple[Path, int]]) -> Part:
    labels = np.array([label for _, label in files], dtype=np.int64)
    return Part(labels, lambda rows: np.stack([_image(files[row][0]) for row in rows]))


def _image(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"data: could not read {path}: {error}") from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise DataError(f"data: {path}: expected {SIDE} × {SIDE} pixels, found {pixels.shape[:2]}")
    return pixels.transpose(2, 0, 1).astype(np.float32) / 255
