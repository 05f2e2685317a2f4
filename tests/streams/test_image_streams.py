"""Streams over images: what each family does to the pixels, against references written out slowly."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds
from clntk.streams.drifting import quarter_turn
from clntk.streams.images import load_images, with_label_noise
from clntk.streams.noisy import corrupted
from clntk.streams.rotated import rotated, turns

FAMILIES = ["permuted_images", "split_images", "rotated_images", "noisy_images", "drifting_images"]
every_family = pytest.mark.parametrize("family", FAMILIES)


def _stream(family, seed=0, **options):
    return registry.get("stream", family)(Seeds(seed), **options)


def _splits(stream):
    return [split for task in stream.tasks for split in task.parts.values()]


@pytest.fixture(scope="module")
def pictures():
    """Images in [0, 1], in colour, and not square."""
    return np.random.default_rng(0).random((4, 3, 6, 8))


@pytest.fixture
def arrays(tmp_path):
    """The user's own images, of a shape of the test's choice."""

    def write(shape=(3, 6, 6), n=60, classes=3):
        rng = np.random.default_rng(1)
        np.save(tmp_path / "images.npy", rng.integers(100, 255, (n, *shape)))
        np.save(tmp_path / "labels.npy", np.arange(n) % classes)
        return {"data": "arrays", "data_root": str(tmp_path), "n_probe": 4}

    return write


# --- what all share ---------------------------------------------------------------------------------------


@every_family
def test_images_kept_whole_are_the_flat_ones_in_another_shape(family):
    flat, whole = _stream(family), _stream(family, flatten=False)
    assert (flat.shape.inputs, whole.shape.inputs) == ((64,), (1, 8, 8))
    for a, b in zip(_splits(flat), _splits(whole), strict=True):
        assert torch.equal(a.x, b.x.flatten(1))
        assert torch.equal(a.y, b.y)


@every_family
def test_colour_images_work_flat_and_whole(family, arrays):
    own = arrays() | ({"n_tasks": 3} if family == "split_images" else {})
    flat, whole = _stream(family, **own), _stream(family, flatten=False, **own)
    assert (flat.shape.inputs, whole.shape.inputs) == ((108,), (3, 6, 6))
    for a, b in zip(_splits(flat), _splits(whole), strict=True):
        assert torch.equal(a.x, b.x.flatten(1))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "split_images"])
def test_the_first_task_is_the_untouched_images(family):
    assert torch.equal(_stream(family).tasks[0].train.x, _stream("permuted_digits").tasks[0].train.x)


@every_family
def test_a_subset_of_each_class_is_drawn_with_the_seed(family):
    first, again, other = (_stream(family, seed, n_train=7) for seed in (0, 0, 1))
    for a, b, c in zip(first.tasks, again.tasks, other.tasks, strict=True):
        assert set(Counter(a.train.y.tolist()).values()) == {7}
        assert torch.equal(a.train.x, b.train.x)
        assert not torch.equal(a.train.x, c.train.x)
        assert len(a.test) > 30  # test sets stay whole
    with pytest.raises(DataError, match=r"n_train: expected at most the \d+ training images of class \d"):
        _stream(family, n_train=137)


def test_a_subset_is_of_the_training_set_and_leaves_the_test_set_alone(seeds):
    whole, some = (load_images(seeds, "digits", None, n_train=n) for n in (None, 5))
    pairs = [Counter((*x.ravel(), y) for x, y in zip(*images.train, strict=True)) for images in (whole, some)]
    assert pairs[1] <= pairs[0]
    assert pairs[1].total() == 50
    assert np.array_equal(whole.test[0], some.test[0])


@pytest.mark.parametrize("family", ["rotated_images", "noisy_images"])
def test_rows_of_pixels_have_no_height_and_width(family, arrays):
    with pytest.raises(
        DataError, match=rf"{family}: expected images of examples × height × width, .*\(45, 16\)"
    ):
        _stream(family, **arrays((16,)))


@every_family
def test_rows_of_pixels_cannot_be_kept_whole(family, arrays):
    with pytest.raises(DataError, match=r"flatten=false: expected images of .* found \(45, 16\)"):
        _stream(family, flatten=False, **arrays((16,)) | ({"n_tasks": 3} if family == "split_images" else {}))


@pytest.mark.parametrize("family", ["permuted_images", "drifting_images"])
def test_rows_of_pixels_can_be_permuted_and_turned(family, arrays):
    assert _stream(family, **arrays((16,))).shape.inputs == (16,)


def test_a_grey_image_needs_no_axis_for_its_channel(arrays):
    assert _stream("rotated_images", flatten=False, **arrays((5, 7))).shape.inputs == (1, 5, 7)


def test_permuted_and_split_images_of_digits_are_those_digits():
    for family in ("permuted", "split"):
        images, digits = _stream(f"{family}_images"), _stream(f"{family}_digits")
        for a, b in zip(_splits(images), _splits(digits), strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.y, b.y)


# --- label noise ------------------------------------------------------------------------------------------


def test_a_share_of_the_labels_is_wrong():
    labels = np.arange(1000) % 4 + 2
    noisy = with_label_noise(labels, np.arange(2, 6), 0.3, np.random.default_rng(0))
    wrong = noisy != labels
    assert wrong.sum() == 300
    assert set(noisy) == {2, 3, 4, 5}
    # any other class equally often: 25 of 300 each, sd 4.8
    pairs = Counter(zip(labels[wrong].tolist(), noisy[wrong].tolist(), strict=True))
    assert len(pairs) == 12
    assert all(abs(count - 25) < 25 for count in pairs.values())
    assert with_label_noise(labels, np.arange(2, 6), 0.0, np.random.default_rng(0)) is labels


def test_noise_mistakes_training_labels_alike_in_all_permuted_tasks():
    clean, noisy = _stream("permuted_images"), _stream("permuted_images", label_noise=0.2)
    for a, b in zip(clean.tasks, noisy.tasks, strict=True):
        assert (a.train.y != b.train.y).sum() == round(0.2 * 1347)
        assert torch.equal(b.train.y, noisy.tasks[0].train.y)
        assert torch.equal(a.test.y, b.test.y)
        assert torch.equal(a.train.x, b.train.x)
        assert torch.equal(a.probe.x, b.probe.x)


def test_noise_stays_within_the_classes_of_a_split_task():
    clean, noisy = _stream("split_images"), _stream("split_images", label_noise=0.2)
    for a, b in zip(clean.tasks, noisy.tasks, strict=True):
        assert (a.train.y != b.train.y).sum() == round(0.2 * len(a.train))
        assert set(b.train.y.tolist()) == set(a.train.y.tolist())
        assert torch.equal(a.test.y, b.test.y)
        assert torch.equal(a.train.x, b.train.x)
    with pytest.raises(DataError, match="label_noise: expected at least two classes a task"):
        _stream("split_images", n_tasks=10, label_noise=0.2)


# --- split ------------------------------------------------------------------------------------------------


def test_remainder_classes_are_said():
    assert _stream("split_images").notes == ()
    (note,) = _stream("split_images", n_tasks=4).notes
    assert note == (
        "stream: 10 classes do not divide evenly into 4 tasks; all are kept, with 3, 3, 2, 2 classes a task"
    )


def test_what_was_done_to_the_data_is_in_log_and_provenance(write_protocol, tmp_path):
    import clntk

    stream = {"name": "split_digits", "n_tasks": 4, "n_probe": 4}
    path = write_protocol(tmp_path, stream=stream, strategy={"name": "naive", "epochs": 1, "lr": 0.05})
    (run,) = clntk.run(path, store=tmp_path / "runs")
    (note,) = _stream("split_images", n_tasks=4).notes
    assert (run.path / "log.txt").read_text().splitlines()[0] == note
    assert run.provenance["notes"] == [note]


# --- rotated ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact(quarters):
    x = np.random.default_rng(0).random((5, 2, 7, 7))
    np.testing.assert_allclose(rotated(90.0 * quarters, x), np.rot90(x, quarters, axes=(2, 3)), atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 360.0, -720.0])
def test_whole_turns_touch_nothing(angle, pictures):
    assert rotated(angle, pictures) is pictures


def _slowly_rotated(image, angle):
    """Each pixel of the result looked up, between four pixels, where it came from; black outside."""
    height, width = image.shape
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    out = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, (height - 1) / 2 - row
            came_x, came_y = cos * x + sin * y, -sin * x + cos * y
            c, r = came_x + (width - 1) / 2, (height - 1) / 2 - came_y
            if not (0 <= c <= width - 1 and 0 <= r <= height - 1):
                continue
            for r0 in (math.floor(r), math.floor(r) + 1):
                for c0 in (math.floor(c), math.floor(c) + 1):
                    weight = (1 - abs(r - r0)) * (1 - abs(c - c0))
                    if weight > 0:
                        out[row, column] += weight * image[min(r0, height - 1), min(c0, width - 1)]
    return out


@pytest.mark.parametrize("angle", [30.0, -77.0, 200.0])
def test_other_angles_interpolate_between_four_pixels(angle, pictures):
    turned = rotated(angle, pictures)
    for image, expected in zip(pictures.reshape(-1, 6, 8), turned.reshape(-1, 6, 8), strict=True):
        np.testing.assert_allclose(_slowly_rotated(image, angle), expected, atol=1e-9)


def test_angles_are_spaced_evenly_or_as_given():
    even = _stream("rotated_images", n_tasks=4, max_angle=90.0)
    given = _stream("rotated_images", angles=[0.0, 30.0, 60.0, 90.0])
    for a, b in zip(_splits(even), _splits(given), strict=True):
        assert torch.equal(a.x, b.x)
    np.testing.assert_allclose(given.angles, np.abs(np.subtract.outer([0, 30, 60, 90], [0, 30, 60, 90])))
    assert len(_stream("rotated_images").tasks) == 5
    with pytest.raises(DataError, match="angles: expected 3, one for each task, found 2; leave out n_tasks"):
        _stream("rotated_images", n_tasks=3, angles=[0.0, 10.0])


def test_a_quarter_turn_of_the_stream_is_one_of_its_images():
    straight, turned = _stream("rotated_images", angles=[0.0, 90.0], flatten=False).tasks
    expected = torch.rot90(straight.train.x, 1, dims=(2, 3))
    torch.testing.assert_close(turned.train.x, expected, atol=1e-5, rtol=0)


def test_the_angle_between_directions_is_the_shorter_way_round():
    assert turns([0, 350, 190])[0] == (0, 10, 170)
    assert turns([-90.0, 90.0])[0][1] == 180


# --- noisy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "gaussian_noise", "blur", "contrast", "occlusion"])
def test_severity_nought_touches_nothing_and_one_stays_in_range(kind, pictures):
    assert corrupted(pictures, kind, 0.0, np.random.default_rng(0)) is pictures
    worst = corrupted(pictures, kind, 1.0, np.random.default_rng(0))
    assert worst.shape == pictures.shape
    assert worst.min() >= 0
    assert worst.max() <= 1
    assert (worst == pictures).all() == (kind == "none")


def test_noise_has_half_the_severity_as_its_deviation():
    grey = np.full((50, 1, 20, 20), 0.5)
    noise = corrupted(grey, "gaussian_noise", 0.1, np.random.default_rng(0)) - 0.5
    assert noise.std() == pytest.approx(0.05, rel=0.03)  # of 20,000 draws: four standard errors are 2 %
    assert np.unique(noise).size == noise.size


def test_blur_is_gaussian():
    point = np.zeros((1, 1, 33, 33))
    point[0, 0, 16, 16] = 1
    blurred = corrupted(point, "blur", 0.5, np.random.default_rng(0))[0, 0]
    sigma = 0.5 * 33 / 8
    assert blurred.sum() == pytest.approx(1)
    for distance in (1, 3):
        ratio = math.exp(-(distance**2) / (2 * sigma**2))
        assert blurred[16, 16 + distance] / blurred[16, 16] == pytest.approx(ratio)
        assert blurred[16 + distance, 16] / blurred[16, 16] == pytest.approx(ratio)


def test_contrast_shrinks_about_each_images_mean(pictures):
    faint = corrupted(pictures, "contrast", 0.75, np.random.default_rng(0))
    for before, after in zip(pictures, faint, strict=True):
        assert after.mean() == pytest.approx(before.mean())
        np.testing.assert_allclose(after - after.mean(), 0.25 * (before - before.mean()), atol=1e-12)


def test_occlusion_is_a_black_square_somewhere():
    white = np.ones((300, 2, 8, 8))
    covered = corrupted(white, "occlusion", 0.5, np.random.default_rng(0))
    corners = set()
    for image in covered:
        assert np.array_equal(image[0], image[1])
        rows, columns = np.nonzero(image[0] == 0)
        assert len(rows) == 4
        assert (np.ptp(rows), np.ptp(columns)) == (1, 1)
        corners.add((rows.min(), columns.min()))
    assert {row for row, _ in corners} == {column for _, column in corners} == set(range(7))
    assert len(corners) > 40  # of 49


def test_each_task_has_its_corruption_and_severity():
    kinds = ["contrast", "none", "contrast"]
    stream = _stream("noisy_images", corruptions=kinds, severity=[0.5, 0.9, 0.25])
    plain = _stream("permuted_digits").tasks[0].train.x
    first, second, third = (task.train.x - task.train.x.mean(dim=1, keepdim=True) for task in stream.tasks)
    centred = plain - plain.mean(dim=1, keepdim=True)
    for found, kept in ((first, 0.5), (second, 1.0), (third, 0.75)):
        torch.testing.assert_close(found, kept * centred, atol=1e-5, rtol=1e-4)
    with pytest.raises(DataError, match="severity: expected one or 3, one for each of corruptions, found 2"):
        _stream("noisy_images", corruptions=kinds, severity=[0.5, 0.5])


def test_corruption_differs_between_seeds_tasks_and_sets_only():
    options = {"corruptions": ["gaussian_noise", "gaussian_noise"], "severity": 0.4}
    one, again, other = (_stream("noisy_images", seed, **options) for seed in (0, 0, 1))
    assert all(torch.equal(a.x, b.x) for a, b in zip(_splits(one), _splits(again), strict=True))
    assert not torch.equal(one.tasks[0].train.x, one.tasks[1].train.x)
    assert not torch.equal(one.tasks[0].test.x, other.tasks[0].test.x)
    longer = _stream("noisy_images", corruptions=[*options["corruptions"], "none"], severity=0.4)
    assert torch.equal(longer.tasks[1].train.x, one.tasks[1].train.x)


def test_images_on_a_scale_of_their_own_are_corrupted_on_it(arrays):
    stream = _stream("noisy_images", corruptions=["none", "occlusion"], severity=1.0, **arrays((6, 6)))
    plain, covered = (task.train.x for task in stream.tasks)
    assert (covered == plain.min()).sum() >= 9 * len(plain)  # black is the darkest value, not 0


# --- drifting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7])
def test_a_quarter_turn_squares_to_minus_one(n):
    turn = quarter_turn(n, np.random.default_rng(0))
    np.testing.assert_allclose(turn.T, -turn, atol=1e-12)
    expected = np.ones(n)
    if n % 2:
        expected[-1] = 0
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(-turn @ turn)), np.sort(expected), atol=1e-12)


@pytest.mark.parametrize("drift", [0.3, 1.0])
def test_every_image_is_turned_by_a_set_angle_and_no_distance_changes(drift):
    stream = _stream("drifting_images", n_tasks=4, drift=drift)
    first = stream.tasks[0].train.x.double()
    for t, task in enumerate(stream.tasks):
        x = task.train.x.double()
        torch.testing.assert_close(x.norm(dim=1), first.norm(dim=1), rtol=1e-5, atol=0)
        cosine = (x * first).sum(1) / first.square().sum(1)
        expected = math.cos(math.radians(90 * drift * t / 3))
        torch.testing.assert_close(cosine, torch.full_like(cosine, expected), atol=1e-5, rtol=0)
        np.testing.assert_allclose(pdist(x[:30]), pdist(first[:30]), rtol=1e-5)
        assert stream.angles[0][t] == pytest.approx(90 * drift * t / 3)


def test_drift_is_a_path_and_its_distance_is_known():
    """R(s)ᵀ R(u) = R(u − s), and the distance of R(s) from I as stated."""
    turn = quarter_turn(6, np.random.default_rng(1))

    def at(s):
        return math.cos(s * math.pi / 2) * np.eye(6) + math.sin(s * math.pi / 2) * turn

    np.testing.assert_allclose(at(0.3).T @ at(0.8), at(0.5), atol=1e-12)
    distance = np.linalg.norm(at(0.4) - np.eye(6)) / math.sqrt(12)
    assert distance == pytest.approx(math.sqrt(1 - math.cos(0.4 * math.pi / 2)))


def test_without_drift_all_tasks_are_alike():
    stream = _stream("drifting_images", n_tasks=3, drift=0.0)
    assert all(torch.equal(task.train.x, stream.tasks[0].train.x) for task in stream.tasks)
    assert not torch.equal(
        _stream("drifting_images").tasks[1].train.x, _stream("drifting_images", 1).tasks[1].train.x
    )
