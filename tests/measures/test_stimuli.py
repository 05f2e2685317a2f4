"""What stored probe sets tell of the features that decide."""

import numpy as np
import pytest
import torch

from clntk import registry
from clntk.measures.stimuli import deciding_features, shared_stimuli, target_levels


def probes_of(stream, make_probes):
    return make_probes(
        torch.stack([task.probe.x.flatten(1) for task in stream.tasks]),
        torch.stack([task.probe.y for task in stream.tasks]).numpy(),
    )


@pytest.mark.parametrize("options", [{}, {"context": "absent"}, {"head": "multi"}])
def test_the_features_of_context_blobs_are_column_and_row(options, seeds, make_probes):
    probes = probes_of(registry.get("stream", "context_blobs")(seeds, **options), make_probes)
    index = np.arange(25)
    np.testing.assert_array_equal(
        deciding_features(probes), np.stack([index % 5 - 2, index // 5 - 2], axis=1)
    )
    assert shared_stimuli(probes)


def test_the_tasks_order_the_features(seeds, make_probes):
    probes = probes_of(registry.get("stream", "context_blobs")(seeds, order="BA"), make_probes)
    np.testing.assert_array_equal(deciding_features(probes)[:, 0], np.arange(25) // 5 - 2)


@pytest.mark.parametrize("name", ["gaussian_tasks", "permuted_digits", "teacher_student"])
def test_other_streams_have_none(name, seeds, make_probes):
    probes = probes_of(registry.get("stream", name)(seeds), make_probes)
    assert not shared_stimuli(probes)
    assert deciding_features(probes) is None


def test_one_stimulus_that_differs_is_enough_to_have_none(blob_probes):
    other = blob_probes.copy(deep=True)
    other["inputs"][1, 4, 2] += 1
    assert not shared_stimuli(other)
    assert deciding_features(other) is None


def test_classes_and_several_targets_are_no_feature(blob_probes, make_probes):
    inputs, targets = blob_probes.inputs.values, blob_probes.targets.values
    assert deciding_features(make_probes(inputs, targets[..., 0].astype(int))) is None
    assert deciding_features(make_probes(inputs, np.concatenate([targets, targets], axis=-1))) is None


def test_with_a_head_for_each_task_its_own_output_counts(blob_probes, make_probes):
    heads = np.zeros((2, 9, 2), np.float32)
    heads[0, :, 0], heads[1, :, 1] = blob_probes.targets.values[..., 0]
    np.testing.assert_array_equal(
        deciding_features(make_probes(blob_probes.inputs.values, heads)), deciding_features(blob_probes)
    )


def test_levels_tell_apart_classes_and_values(make_probes):
    x = np.zeros((2, 3, 1))
    np.testing.assert_array_equal(
        target_levels(make_probes(x, [[7, 3, 7], [3, 9, 3]])), [[1, 0, 1], [0, 2, 0]]
    )
    values = np.array([[[0.5, 0], [0.5, 1], [0.5, 0]], [[0, 0], [0.5, 1], [0, 0]]], np.float32)
    np.testing.assert_array_equal(target_levels(make_probes(x, values)), [[1, 2, 1], [0, 2, 0]])
