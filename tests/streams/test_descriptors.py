"""How alike tasks are: values known in advance, what changes nothing, and the way to disk and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from clntk import registry
from clntk.errors import StoreError
from clntk.runs.opened import Run
from clntk.streams.base import Split, Task, TaskStream
from clntk.streams.descriptors import EXAMPLES, subspace_overlap, task_similarity


def _stream(*inputs, labels=None, **options):
    """A stream of tasks with these inputs in all their sets."""
    labels = [torch.arange(len(x)) % 2 for x in inputs] if labels is None else labels
    splits = [Split(x, y) for x, y in zip(inputs, labels, strict=True)]
    return TaskStream(tuple(Task(f"t{i}", s, s, s) for i, s in enumerate(splits)), **options)


def _along(direction, mean, n=40):
    """Inputs that vary along one direction only."""
    return torch.tensor(mean) + torch.linspace(-1, 1, n)[:, None] * torch.tensor(direction)


def _pair(dataset, name):
    values = dataset[name]
    np.testing.assert_array_equal(values, values.T)
    return values.values[0, 1]


@pytest.mark.parametrize("angle", [0, 20, 60, 90])
def test_lines_at_an_angle(angle):
    turned = [math.cos(math.radians(angle)), math.sin(math.radians(angle)), 0.0]
    found = task_similarity(_stream(_along([1.0, 0, 0], [0.0, 0, 2]), _along(turned, [0.0, 0, 2])))
    assert _pair(found, "input_overlap") == pytest.approx(math.cos(math.radians(angle)) ** 2, abs=1e-6)
    assert found.input_dimension.values.tolist() == [1, 1]
    assert _pair(found, "mean_angle") == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("angle", [0, 30, 90, 180])
def test_means_at_an_angle(angle):
    mean = [2 * math.cos(math.radians(angle)), 2 * math.sin(math.radians(angle)), 0.0]
    found = task_similarity(_stream(_along([0, 0, 1.0], [1.0, 0, 0]), _along([0, 0, 1.0], mean)))
    assert _pair(found, "mean_angle") == pytest.approx(angle, abs=1e-3)
    assert _pair(found, "input_overlap") == pytest.approx(1, abs=1e-6)
    assert found.mean_angle.values[0, 0] == 0


def test_a_subspace_inside_another_overlaps_in_full():
    generator = torch.Generator().manual_seed(0)
    plane = torch.cat([torch.randn(50, 2, generator=generator), torch.zeros(50, 2)], dim=1)
    found = task_similarity(_stream(plane, _along([1.0, 0, 0, 0], [0.0, 0, 0, 1], n=50)))
    assert found.input_dimension.values.tolist() == [2, 1]
    assert _pair(found, "input_overlap") == pytest.approx(1, abs=1e-6)


def test_the_dimension_is_the_fewest_components_with_ninety_percent():
    """Variances 8, 1.5, 0.5 of 10: two components hold 95 %, one only 80 %."""
    corners = torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])
    x = corners * torch.tensor([8.0, 1.5, 0.5]).sqrt()
    assert task_similarity(_stream(x, x[:, [2, 1, 0]])).input_dimension.values.tolist() == [2, 2]


@pytest.mark.parametrize("dims", [(3, 3), (2, 4)])
def test_overlap_is_the_mean_squared_cosine_of_principal_angles(dims):
    rng = np.random.default_rng(0)
    a, b = (np.linalg.qr(rng.standard_normal((8, d)))[0] for d in dims)
    expected = np.mean(np.cos(subspace_angles(a, b)) ** 2)
    assert subspace_overlap(torch.as_tensor(a), torch.as_tensor(b)) == pytest.approx(expected, rel=1e-12)


def test_labels_overlap_by_jaccard():
    x = _along([1.0, 0], [0.0, 1])
    labels = [torch.arange(40) % 2, 1 + torch.arange(40) % 2, 3 + torch.arange(40) % 2]
    found = task_similarity(_stream(x, x, x, labels=labels)).label_overlap.values
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])


def test_what_is_not_there_is_nan():
    x = _along([1.0, 0], [0.0, 1])
    values = [torch.zeros(40, 1)] * 2
    found = task_similarity(_stream(x, x * 0, labels=values, target="value"))
    assert np.isnan(found.label_overlap).all()
    assert np.isnan(_pair(found, "input_overlap"))
    assert np.isnan(_pair(found, "mean_angle"))
    assert np.isnan(found.task_angle).all()
    assert found.input_dimension.values.tolist() == [1, 0]


def test_equal_inputs_have_no_dimension_however_they_are_rounded():
    x = torch.full((40, 3), 0.1) * torch.tensor([1.0, 3.0, 7.0])
    assert task_similarity(_stream(x, x)).input_dimension.values.tolist() == [0, 0]


def test_known_angles_are_passed_on():
    x = _along([1.0, 0], [0.0, 1])
    angles = ((0.0, 25.0), (25.0, 0.0))
    assert task_similarity(_stream(x, x, angles=angles)).task_angle.values.tolist() == [[0, 25], [25, 0]]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_turning_or_scaling_all_inputs_alike_changes_nothing(seed, scale):
    rng = np.random.default_rng(seed)
    x = [torch.as_tensor(rng.standard_normal((30, 5)) + rng.standard_normal(5)) for _ in range(2)]
    turn = torch.as_tensor(np.linalg.qr(rng.standard_normal((5, 5)))[0])
    plain, turned = task_similarity(_stream(*x)), task_similarity(_stream(*(scale * v @ turn for v in x)))
    xr.testing.assert_allclose(plain, turned, rtol=1e-6, atol=1e-6)
    assert 0 <= _pair(plain, "input_overlap") <= 1


def test_large_sets_are_looked_at_through_some_of_their_examples():
    """Examples between those looked at change nothing, the last of them does."""
    x = torch.randn(2 * EXAMPLES, 3, generator=torch.Generator().manual_seed(0))
    index = torch.linspace(0, len(x) - 1, EXAMPLES).round().long()
    changed, last = x.clone(), x.clone()
    changed[~torch.isin(torch.arange(len(x)), index)] *= 100
    last[-1] *= 1000
    plain = task_similarity(_stream(x, x))
    assert task_similarity(_stream(x, changed)).identical(plain)
    assert task_similarity(_stream(x, last)).input_dimension.values.tolist() == [3, 1]


def test_images_are_compared_as_rows_of_pixels(seeds):
    rotated = registry.get("stream", "rotated_images")
    flat, images = (rotated(seeds, n_tasks=2, flatten=flatten) for flatten in (True, False))
    xr.testing.assert_allclose(flat.descriptors, images.descriptors)


# --- to disk and back -------------------------------------------------------------------------------------


def test_similarity_is_stored_with_every_run(smoke_runs, seeds):
    for run in smoke_runs:
        stream = registry.get("stream", "permuted_digits")(
            replace(seeds, seed=run.spec.seed), n_tasks=2, n_probe=12
        )
        assert stream.descriptors.identical(run.fact("stream"))


def test_a_run_stored_before_similarity_was_can_be_read_and_says_so(smoke_runs):
    run = Run(smoke_runs.runs[0].path)
    old = run.tree.copy()
    del old["stream"]
    run.__dict__["tree"] = old
    assert {"test_accuracy", "train_loss"} <= set(run.fact("metrics"))
    with pytest.raises(StoreError, match=r"holds no 'stream', only .*did not yet record how alike tasks are"):
        run.fact("stream")
    with pytest.raises(StoreError, match=r"add kernel to the protocol's probes"):
        run.fact("kernel")
