"""Facts of constructed populations."""

import numpy as np
import pytest
import xarray as xr


@pytest.fixture(scope="session")
def make_activations():
    """Layer → checkpoint × eval_task × probe × unit in single precision, from patterns or drawn at random."""

    def make(layers, n_checkpoints=3, n_tasks=4, n=6, seed=0):
        rng = np.random.default_rng(seed)
        coords = {
            "checkpoint": ["init", *(f"phase{k}" for k in range(1, n_checkpoints))],
            "step": ("checkpoint", np.arange(n_checkpoints) * 3),
            "task": ("checkpoint", ["", *(f"task{k}" for k in range(1, n_checkpoints))]),
            "eval_task": [f"task{t}" for t in range(n_tasks)],
        }
        return {
            name: xr.DataArray(
                np.maximum(rng.normal(size=(n_checkpoints, n_tasks, n, size)), 0).astype(np.float32),
                dims=("checkpoint", "eval_task", "probe", "unit"),
                coords=coords,
            )
            for name, size in layers.items()
        }

    return make


@pytest.fixture(scope="session")
def make_probes():
    """The stored inputs and targets of probe sets, each (task, probe, …)."""

    def make(inputs, targets):
        inputs, targets = np.asarray(inputs, np.float32), np.asarray(targets)
        names = [f"target_{i}" for i in range(targets.ndim - 2)]
        return xr.Dataset(
            {
                "inputs": (("eval_task", "probe", "feature_0"), inputs),
                "targets": (("eval_task", "probe", *names), targets),
            },
            coords={"eval_task": [f"task{t}" for t in range(len(inputs))]},
        )

    return make


@pytest.fixture(scope="session")
def blob_probes(make_probes):
    """Nine stimuli on a 3 × 3 grid in two contexts: the column decides in the first, the row in the second."""
    row, column = np.repeat([-1.0, 0, 1], 3), np.tile([-1.0, 0, 1], 3)
    stimulus = np.random.default_rng(0).normal(size=(9, 4))
    cue = np.eye(2)[:, None, :].repeat(9, axis=1)
    inputs = np.concatenate([np.stack([stimulus, stimulus]), cue], axis=-1)
    return make_probes(inputs, np.stack([column, row])[..., None].astype(np.float32))


@pytest.fixture(scope="session")
def loop_accuracy():
    """A linear machine a split, on patterns centred and scaled by the training examples; mean recall of labels."""

    from sklearn.svm import SVC  # here, as most measures' tests do without

    def accuracy(code, labels, splits, C):
        found = []
        for train, test in splits:
            mean = code[train].mean(axis=0)
            scale = np.sqrt(((code[train] - mean) ** 2).sum(axis=1).mean())
            machine = SVC(kernel="linear", C=C, class_weight="balanced")
            machine.fit((code[train] - mean) / scale, labels[train])
            right = machine.predict((code[test] - mean) / scale) == labels[test]
            found.append(np.mean([right[labels[test] == label].mean() for label in set(labels[test])]))
        return np.mean(found)

    return accuracy
