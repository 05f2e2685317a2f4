"""Networks of the user's own: found, called, checked."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import clntk
from clntk import registry
from clntk.errors import DataError, OptionError, ProtocolError
from clntk.protocol import expand, load
from clntk.shape import TaskShape

SHAPE = TaskShape((6,), 3)
MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, width=5):
        super().__init__()
        self.first, self.last = nn.Linear(*shape.inputs, width), nn.Linear(width, shape.outputs)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.dropout(torch.relu(self.first(x))))

class Plain(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)

class Broken(nn.Linear):
    def forward(self, x):
        return super().forward(x[:, None])

class Frozen(Plain):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)

def thing():
    return {}

number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return clntk.use(tmp_path / "mine.py")


def _custom(path, **kwargs):
    return registry.get("model", "custom")(SHAPE, path=path, kwargs=kwargs)


def test_a_class_of_a_file_is_called_with_the_shape_and_its_arguments(mine):
    for path in ("mine.py:Net", f"{mine}:Net"):
        network = _custom(path, width=7)
        assert network.first.weight.shape == (7, 6)
        assert network(torch.randn(4, 6)).shape == (4, 3)
        assert network.dropout.training  # checked in eval mode, handed over as it was made


def test_what_takes_no_shape_is_called_without(mine):
    assert _custom("mine.py:Plain").weight.shape == (3, 6)
    assert _custom("torch.nn:Linear", in_features=6, out_features=3).bias is not None


def test_a_function_will_do():
    torch.manual_seed(0)
    same = registry.get("model", "mlp")(SHAPE, width=5)
    torch.manual_seed(0)
    for a, b in zip(_custom("clntk.models.mlp:mlp", width=5).parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


def test_checking_draws_nothing_at_random(mine):
    torch.manual_seed(0)
    _custom("mine.py:Plain")
    after = torch.get_rng_state()
    torch.manual_seed(0)
    nn.Linear(6, 3)
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize(
    ("path", "kwargs", "message"),
    [
        (
            "mine.py:Nett",
            {},
            r"mine.py:Nett@\w{10}: expected something to import, found module .* no attribute",
        ),
        (
            "no_such_package:Net",
            {},
            "from an installed package, found no package",
        ),
        ("torch.nn:Linea", {}, "expected something to import, found module 'torch.nn' has no attribute"),
        (
            "mine.py:Net",
            {"with": 7},
            r"expected a call with \{'with': 7\} to make a network, found TypeError",
        ),
        ("mine.py:number", {}, "to make a network, found TypeError: 3 is not a callable object"),
        ("mine.py:thing", {}, "expected it to make an nn.Module, found dict"),
        ("collections:Counter", {}, "from an installed package, found no package"),
        ("os:system", {"command": "touch hacked"}, "from an installed package, found no package"),
        (
            "numpy:save",
            {"file": "hacked", "arr": 1},
            "expected an nn.Module, or a function that is annotated",
        ),
        ("torch:compile", {}, "expected an nn.Module, or a function that is annotated"),
        (
            "torch.nn:Linear",
            {"in_features": 6, "out_features": 4},
            r"expected outputs of shape \(2, 3\) for 2 examples, found \(2, 4\)",
        ),
        (
            "mine.py:Broken",
            {"in_features": 6, "out_features": 3},
            r"expected outputs of shape \(2, 3\) for 2 examples, found \(2, 1, 3\)",
        ),
        (
            "torch.nn:RNN",
            {"input_size": 6, "hidden_size": 3},
            r"expected outputs of shape \(2, 3\) for 2 examples, found tuple",
        ),
        (
            "torch.nn:Linear",
            {"in_features": 5, "out_features": 3},
            r"expected a network for inputs of shape \(6,\), found RuntimeError: mat1 and mat2",
        ),
        ("mine.py:Frozen", {}, "expected parameters that require gradients, found none"),
        ("torch.nn:Identity", {}, r"expected outputs of shape \(2, 3\)"),
    ],
)
def test_what_is_no_network_for_the_task_is_refused(mine, path, kwargs, message):
    with pytest.raises(DataError, match=f"model custom, .*{message}"):
        _custom(path, **kwargs)


@pytest.mark.parametrize("path", ["Net", "mine.py", ":Net", "mine.py:", "nope.py:Net"])
def test_what_is_no_path_is_refused_before_anything_is_built(mine, path):
    with pytest.raises(OptionError, match=r"package.module:Class or file.py:Class|a file that exists"):
        _custom(path)


def test_a_file_that_nobody_named_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text("import pathlib; pathlib.Path('hacked').touch()\n" + MINE)
    with pytest.raises(
        DataError, match=r"expected a file that is named as one of your own.*list theirs.py under use:"
    ):
        _custom("theirs.py:Net")
    assert not (tmp_path / "hacked").exists()


def _spec(write_protocol, folder, **model):
    path = write_protocol(folder, model={"name": "custom", **model})
    return expand(load(path))[0]


def test_changed_code_makes_another_run_and_is_not_taken_for_the_old(mine, write_protocol, tmp_path):
    before = _spec(write_protocol, tmp_path, path="mine.py:Net")
    assert _spec(write_protocol, tmp_path, path="mine.py:Net").run_id == before.run_id
    mine.write_text(MINE.replace("width=5", "width=6"))
    clntk.use(mine)
    after = _spec(write_protocol, tmp_path, path="mine.py:Net")
    assert after.run_id != before.run_id
    with pytest.raises(
        ValidationError, match="the file that the run was started with, not one changed since"
    ):
        registry.get("model", "custom").check({"path": before.model["path"]})
    assert _custom(after.model["path"]).first.out_features == 6


def test_a_protocol_without_a_path_says_that_it_is_required(write_protocol, tmp_path):
    with pytest.raises(ProtocolError, match=r"model.path: expected a value, found nothing; this key is req"):
        _spec(write_protocol, tmp_path)
