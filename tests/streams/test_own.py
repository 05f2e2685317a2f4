"""One's own data as a stream: every form it may come in, and what is said of the others."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import clntk
from clntk import registry
from clntk.errors import DataError
from clntk.seeding import Seeds


def _arrays(seed, n=40, shape=(5,)):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, 3, n)


class _Items(Dataset):
    """A dataset that hands out one example at a time, labels as plain integers."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.as_tensor(self.x[i]), self.y[i].item()


FORMS = {
    "arrays": lambda x, y: (x, y),
    "tensors": lambda x, y: (torch.as_tensor(x), torch.as_tensor(y)),
    "a list": lambda x, y: [x, y],
    "TensorDataset": lambda x, y: TensorDataset(torch.as_tensor(x), torch.as_tensor(y)),
    "Dataset": _Items,
    "double precision": lambda x, y: (x.astype(np.float64), y.astype(np.int32)),
    "a column of labels": lambda x, y: (x, y[:, None]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_stream(form):
    sets = [_arrays(seed) for seed in range(4)]
    a, a_test, b, b_test = (FORMS[form](*arrays) for arrays in sets)
    stream = clntk.stream_from([(a, a_test), (b, b_test)], names=["A", "B"], n_probe=7)
    assert stream.task_names == ["A", "B"]
    assert (stream.outputs, stream.target, stream.accuracy) == (3, "class", "argmax")
    for task, (train, test) in zip(stream.tasks, [sets[:2], sets[2:]], strict=True):
        for split, (x, y) in ((task.train, train), (task.test, test)):
            assert torch.equal(split.x, torch.as_tensor(x))
            assert torch.equal(split.y, torch.as_tensor(y))
        assert len(task.probe) == 7
        assert set(map(tuple, task.probe.x.tolist())) <= set(map(tuple, task.test.x.tolist()))
    assert len(stream.benchmark.train_stream) == 2


def test_float_targets_are_regression_without_an_accuracy():
    tasks = [((x, x[:, :2]), (x, x[:, :2])) for x, _ in (_arrays(0), _arrays(1))]
    stream = clntk.stream_from(tasks)
    assert (stream.outputs, stream.target, stream.accuracy) == (2, "value", "none")
    single = clntk.stream_from([((x, x[:, 0]), (x, x[:, 0])) for x, _ in (_arrays(0), _arrays(1))])
    assert (single.outputs, single.tasks[0].train.y.shape) == (1, (40, 1))
    assert clntk.stream_from(tasks, accuracy="argmax").accuracy == "argmax"


def test_images_and_bytes_and_truth_values_are_taken_as_they_are():
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4)).astype(np.uint8)
    stream = clntk.stream_from([(x, x[:, 0, 0, 0] > 100)] * 2, test=0.5, n_probe=3)
    assert stream.shape.inputs == (3, 4, 4)
    assert stream.tasks[0].train.x.max() > 200
    assert stream.outputs == 2


def test_a_share_is_held_out_once_for_all_by_the_seed():
    data = [_arrays(0), _arrays(1)]
    first, again, other = (clntk.stream_from(data, test=0.25, seed=seed) for seed in (0, Seeds(0), 1))
    for (x, _), a, b, c in zip(data, first.tasks, again.tasks, other.tasks, strict=True):
        assert (len(a.train), len(a.test), len(a.probe)) == (30, 10, 10)
        rows = torch.cat([a.train.x, a.test.x])
        assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, x.tolist()))
        assert torch.equal(a.test.x, b.test.x)
        assert not torch.equal(a.test.x, c.test.x)


def test_probes_are_32_or_as_many_as_there_are():
    big, small = _arrays(0, n=50), _arrays(1, n=9)
    assert len(clntk.stream_from([(big, big), (big, big)]).tasks[0].probe) == 32
    stream = clntk.stream_from([(big, big), (big, small)])
    assert [len(task.probe) for task in stream.tasks] == [9, 9]
    with pytest.raises(DataError, match="n_probe: expected at most the 9 test examples of a task, found 10"):
        clntk.stream_from([(big, big), (big, small)], n_probe=10)


def test_outputs_may_be_more_than_the_labels_seen():
    assert clntk.stream_from([(_arrays(0), _arrays(1))] * 2, outputs=10).outputs == 10
    with pytest.raises(DataError, match="expected labels 0 to 1, found 0 to 2"):
        clntk.stream_from([(_arrays(0), _arrays(1))] * 2, outputs=2)


def test_it_serves_as_a_registered_stream(seeds):
    @clntk.register("stream")
    def mine(seeds, *, share: float = 0.5):
        """Mine."""
        return clntk.stream_from([_arrays(0), _arrays(1)], test=share, seed=seeds)

    stream = registry.get("stream", "mine")(seeds, share=0.25, head="multi", schedule="joint")
    assert (stream.outputs, len(stream.phases), len(stream.tasks[0].train)) == (6, 1, 30)


X, Y = _arrays(0)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([((X, Y), (X, Y))], {}, "expected at least two tasks, found 1"),
        ([(X, Y)] * 2, {}, r"task0: expected a pair of a training set and a test set, found 2 of ndarray.*test=0.2"),
        ([TensorDataset(torch.as_tensor(X))] * 2, {}, "task0: expected a pair of .*found TensorDataset"),
        ([((X, Y), (X, Y))] * 2, {"test": 0.5}, "task0: expected a torch Dataset, or a pair of arrays"),
        ([((X, Y), None)] * 2, {}, "test set of task0: expected a torch Dataset, .*found NoneType"),
        ([((X, Y), (X, Y, Y))] * 2, {}, "test set of task0: .* found 3 of ndarray"),
        ([((X, Y[:-1]), (X, Y))] * 2, {}, r"training set of task0: .*as many targets, .*\(40, 5\) and \(39,\)"),
        ([((X[:, 0], Y), (X, Y))] * 2, {}, r"expected inputs \(examples × features…\).*found shapes \(40,\)"),
        ([((X, X[:, :2]), (X, Y))] * 2, {}, "expected either integer labels or float values in all sets"),
        ([((X, Y), (X, Y))] * 2, {"names": ["A"]}, "expected a name for each of 2 tasks, found 1"),
        ([((X, Y), (X, Y))] * 2, {"names": ["A", "A"]}, "a name of its own, found 'A' twice"),
        ([(X, Y)] * 2, {"test": 1.5}, r"test: expected a share in \(0, 1\), found 1.5"),
        ([(X[:3], Y[:3])] * 2, {"test": 0.1}, "task0: expected examples to train on and to test on, found 3"),
        ([((X, Y - 1), (X, Y))] * 2, {}, "train set of task0: expected labels 0 to 2, found -1 to 1"),
        ([((X * np.nan, Y), (X, Y))] * 2, {}, "train set of task0: expected finite inputs"),
        ([((X, X[:, 0] * np.inf), (X, X[:, 0]))] * 2, {}, "expected finite targets .*with NaN or infinity"),
        ([((X.astype(str), Y), (X, Y))] * 2, {}, "training set of task0: expected numbers, found <U"),
        ([((X, Y), (X[:, :4], Y))] * 2, {}, r"test set of task0: expected inputs of shape \(5,\) .*found \(4,\)"),
    ],
)  # fmt: skip
def test_what_is_no_stream_is_refused_in_a_sentence(data, options, message):
    with pytest.raises(DataError, match=message):
        clntk.stream_from(data, **options)


def test_a_dataset_of_pictures_asks_for_tensors():
    class Pictures(_Items):
        def __getitem__(self, i):
            return "picture", 1

    data = Pictures(*_arrays(0))
    with pytest.raises(
        DataError, match=r"training set of task0: expected a dataset of pairs .*transformation to tensors"
    ):
        clntk.stream_from([(data, data)] * 2)
