"""Permuted and split digits: what is permuted, what is split, what the probes are, and the same bits as ever."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds

permuted_digits = registry.get("stream", "permuted_digits")
split_digits = registry.get("stream", "split_digits")


def _all_images(task):
    return torch.cat([task.train.x, task.test.x])


def _rows(x):
    return Counter(map(tuple, x.tolist()))


def _sorted_columns(x):
    order = np.lexsort(x.numpy())
    return x[:, order]


# --- the same bits as ever ---------------------------------------------------------------------------------


def _standardised_digits(seed, test_size):
    """As the first version did it: scikit-learn's split, one mean and one scale, then single precision."""
    x, y = load_digits(return_X_y=True)
    random_state = Seeds(seed).integer("data") % 2**32
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=test_size, stratify=y, random_state=random_state
    )
    mean, sd = train_x.mean(), train_x.std()
    train_x, test_x = (torch.as_tensor((part - mean) / sd, dtype=torch.float32) for part in (train_x, test_x))
    return train_x, torch.as_tensor(train_y), test_x, torch.as_tensor(test_y)


@pytest.mark.parametrize("seed", [0, 3])
def test_permuted_digits_keep_their_bits(seed):
    train_x, train_y, test_x, test_y = _standardised_digits(seed, 0.25)
    generator, probes = Seeds(seed).torch("data"), Seeds(seed).torch("probe")
    for t, task in enumerate(permuted_digits(Seeds(seed), n_tasks=3).tasks):
        order = torch.arange(64) if t == 0 else torch.randperm(64, generator=generator)
        chosen = torch.randperm(450, generator=probes)[:32]
        assert torch.equal(task.train.x, train_x[:, order])
        assert torch.equal(task.train.y, train_y)
        assert torch.equal(task.test.x, test_x[:, order])
        assert torch.equal(task.test.y, test_y)
        assert torch.equal(task.probe.x, test_x[chosen][:, order])


def test_split_digits_keep_their_bits():
    train_x, train_y, test_x, test_y = _standardised_digits(5, 0.4)
    classes = np.array_split(Seeds(5).numpy("data").permutation(np.arange(10)), 4)
    stream = split_digits(Seeds(5), n_tasks=4, test_fraction=0.4, shuffle_classes=True)
    for task, own in zip(stream.tasks, classes, strict=True):
        train, test = (torch.isin(y, torch.as_tensor(own)) for y in (train_y, test_y))
        assert torch.equal(task.train.x, train_x[train])
        assert torch.equal(task.train.y, train_y[train])
        assert torch.equal(task.test.x, test_x[test])
        assert torch.equal(task.test.y, test_y[test])


# --- the images -------------------------------------------------------------------------------------------


def test_the_first_task_is_the_digits_themselves(seeds):
    task = permuted_digits(seeds).tasks[0]
    images = _all_images(task)
    raw = ((images - images.min()) / (images.max() - images.min()) * 16).round()
    x, y = load_digits(return_X_y=True)
    assert _rows(torch.cat([raw, torch.cat([task.train.y, task.test.y])[:, None].float()], dim=1)) == _rows(
        torch.as_tensor(np.column_stack([x, y]))
    )
    assert (len(task.train), len(task.test)) == (1347, 450)


def test_pixels_are_standardised_by_the_training_set(seeds):
    for task in permuted_digits(seeds, n_tasks=2).tasks:
        assert task.train.x.mean().item() == pytest.approx(0, abs=1e-5)
        assert task.train.x.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_training_and_test_sets_hold_the_classes_alike(seeds):
    task = permuted_digits(seeds, test_fraction=0.5).tasks[0]
    for part in (task.train, task.test):
        shares = torch.bincount(part.y, minlength=10) / len(part)
        truth = torch.bincount(torch.cat([task.train.y, task.test.y])) / 1797
        torch.testing.assert_close(
            shares, truth, atol=1 / len(part), rtol=0
        )  # stratified: off by one at most


# --- permuted ---------------------------------------------------------------------------------------------


def test_later_tasks_shuffle_the_pixels_alike_for_all_images(seeds):
    first, *later = permuted_digits(seeds, n_tasks=3).tasks
    for task in later:
        assert torch.equal(_sorted_columns(_all_images(task)), _sorted_columns(_all_images(first)))
        assert torch.equal(task.train.y, first.train.y)
        moved = (task.train.x != first.train.x).any(dim=0).float().mean()
        assert moved > 0.8  # a few of 64 pixels stay or trade places with another constant one
    assert not torch.equal(later[0].train.x, later[1].train.x)


def test_more_tasks_leave_the_first_ones_as_they_are(seeds):
    few, many = permuted_digits(seeds, n_tasks=2), permuted_digits(seeds, n_tasks=4)
    for a, b in zip(few.tasks, many.tasks[:2], strict=True):
        assert torch.equal(a.train.x, b.train.x)
        assert torch.equal(a.probe.x, b.probe.x)


# --- split ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_tasks", "sizes"), [(2, [5, 5]), (3, [4, 3, 3]), (10, [1] * 10)])
def test_classes_that_do_not_divide_evenly_stay(seeds, n_tasks, sizes):
    stream = split_digits(seeds, n_tasks=n_tasks)
    classes = [set(task.train.y.tolist()) for task in stream.tasks]
    assert [len(c) for c in classes] == sizes
    assert set.union(*classes) == set(range(10))
    assert classes == [set(task.test.y.tolist()) for task in stream.tasks]
    assert sum(len(task.train) + len(task.test) for task in stream.tasks) == 1797
    assert stream.shape.outputs == 10


def test_classes_are_shuffled_on_request_only():
    def classes(seed, **options):
        return [tuple(task.train.y.unique().tolist()) for task in split_digits(Seeds(seed), **options).tasks]

    plain = classes(0)
    assert plain == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)] == classes(1)
    shuffled = [classes(seed, shuffle_classes=True) for seed in (0, 1)]
    assert plain != shuffled[0] != shuffled[1]
    assert sorted(sum(shuffled[0], ())) == list(range(10))


def test_more_tasks_than_classes_are_refused(seeds):
    with pytest.raises(DataError, match="n_tasks: expected at most 10 tasks, one class each, found 11"):
        split_digits(seeds, n_tasks=11)


# --- what both share --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [permuted_digits, split_digits])
def test_everything_is_fixed_for_a_seed_and_changes_with_it(family):
    def parts(seed):
        return [
            getattr(task, part).x for task in family(Seeds(seed)).tasks for part in ("train", "test", "probe")
        ]

    for a, again, other in zip(parts(0), parts(0), parts(1), strict=True):
        assert torch.equal(a, again)
        assert a.shape != other.shape or not torch.equal(a, other)


@pytest.mark.parametrize("family", [permuted_digits, split_digits])
def test_probes_are_different_examples_of_the_tasks_own_test_set(family, seeds):
    for task in family(seeds, n_probe=20).tasks:
        test = Counter((*x, y) for x, y in zip(task.test.x.tolist(), task.test.y.tolist(), strict=True))
        probes = Counter((*x, y) for x, y in zip(task.probe.x.tolist(), task.probe.y.tolist(), strict=True))
        assert probes.total() == 20
        assert probes <= test


def test_the_number_of_probes_does_not_touch_the_data(seeds):
    few, many = permuted_digits(seeds, n_probe=5), permuted_digits(seeds, n_probe=50)
    assert all(torch.equal(a.train.x, b.train.x) for a, b in zip(few.tasks, many.tasks, strict=True))


def test_more_probes_than_test_examples_are_refused(seeds):
    with pytest.raises(
        DataError, match="n_probe: expected at most the 450 test examples of a task, found 451"
    ):
        permuted_digits(seeds, n_probe=451)


def test_a_test_set_too_small_for_the_classes_is_refused(seeds):
    with pytest.raises(DataError, match="test_fraction: expected a test set with examples of every class"):
        permuted_digits(seeds, test_fraction=0.001)


def test_building_a_stream_touches_no_global_generator(seeds):
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    permuted_digits(seeds)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


# --- the user's own arrays --------------------------------------------------------------------------------


@pytest.fixture
def data_root(tmp_path):
    """A folder with 60 images of 3 × 2 pixels in 3 classes, or what a test puts in their place."""

    def write(images=None, labels=None):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 255, (60, 3, 2)).astype(np.uint8) if images is None else images
        np.save(tmp_path / "images.npy", images)
        np.save(tmp_path / "labels.npy", np.arange(60) % 3 if labels is None else labels)
        return tmp_path

    return write


def test_arrays_take_the_place_of_the_digits(seeds, data_root):
    stream = permuted_digits(seeds, n_tasks=2, n_probe=5, data_root=data_root())
    assert stream.shape.inputs == (6,)
    assert stream.shape.outputs == 3
    assert stream.chance == pytest.approx(1 / 3)
    images = _all_images(stream.tasks[0])
    given = np.load(data_root() / "images.npy").reshape(60, 6).astype(float)
    scaled = (images - images.min()) / (images.max() - images.min()) * (
        given.max() - given.min()
    ) + given.min()
    assert _rows(scaled.round()) == _rows(torch.as_tensor(given))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": np.arange(59) % 3}, r"expected one integer label an image, found images \(60, 3, 2\)"),
        ({"labels": np.zeros((60, 1), int)}, r"labels \(60, 1\) of int64"),
        ({"labels": (np.arange(60) % 3).astype(float)}, "of float64"),
        ({"labels": np.arange(60) % 3 - 1}, "expected labels 0 to 1, found -1 to 1"),
        ({"images": np.full((60, 4), np.nan)}, "train set of task0: expected finite inputs, found NaN"),
        ({"images": np.array([["a"]] * 60)}, "expected images of numbers"),
        ({"images": np.ones((60, 2)) * 1j}, "expected images of numbers"),
        ({"images": np.array(3.0)}, r"expected images of numbers \(examples × pixels…\), found \(\)"),
        ({"images": np.zeros((0, 3)), "labels": np.zeros(0, int)}, r"found \(0, 3\)"),
        ({"labels": np.arange(60)}, "expected a test set with examples of every class"),
    ],
)
def test_wrong_arrays_are_refused(seeds, data_root, wrong, message):
    with pytest.raises(DataError, match=message):
        permuted_digits(seeds, n_probe=2, data_root=data_root(**wrong))


def test_arrays_that_need_pickle_are_refused(seeds, data_root):
    root = data_root(images=np.array([{"code": 1}] * 60, dtype=object))
    with pytest.raises(
        DataError, match=r"data_root: could not read .*images.npy: Object arrays cannot be loaded"
    ):
        permuted_digits(seeds, data_root=root)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY"])
def test_a_damaged_file_is_refused(seeds, data_root, content):
    root = data_root()
    (root / "labels.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"data_root: could not read .*labels.npy"):
        permuted_digits(seeds, data_root=root)


def test_classes_with_gaps_cannot_be_split(seeds, data_root):
    root = data_root(labels=np.arange(60) % 3 * 2)
    with pytest.raises(
        DataError, match="labels: expected images of every class from 0 to 4, found none of 1"
    ):
        split_digits(seeds, n_tasks=2, n_probe=2, data_root=root)


def test_a_missing_folder_or_file_is_reported(seeds, tmp_path):
    with pytest.raises(
        DataError, match=r"data_root: expected a folder .*found nothing at .*absent; check the path"
    ):
        permuted_digits(seeds, data_root=str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"could not read .*images.npy: .*No such file"):
        permuted_digits(seeds, data_root=str(tmp_path))
