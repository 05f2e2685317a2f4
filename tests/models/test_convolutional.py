"""Networks for images: their forward pass written out, their sizes, and how they are drawn."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from clntk import registry
from clntk.capture.look import Look, hidden_layers
from clntk.errors import DataError
from clntk.shape import TaskShape

cnn, resnet = registry.get("model", "cnn"), registry.get("model", "resnet")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [((8, 6), 3, 2), ((5, 5), 2, 1), ((7, 3), 5, 3)])
def test_a_cnn_is_the_formula(pooling, size, kernel, stride):
    model = cnn(TaskShape((2, *size), 3), channels=(4, 5), kernel=kernel, stride=stride, pooling=pooling)
    p, x = dict(model.named_parameters()), torch.randn(3, 2, *size)
    h = x
    for k in (1, 2):
        weight, bias = p[f"hidden{k}.conv.weight"], p[f"hidden{k}.conv.bias"]
        h = functional.conv2d(h, weight, bias, stride=stride, padding=kernel // 2).clamp(min=0)
    h = h.mean((2, 3)) if pooling == "mean" else h.flatten(1)
    torch.testing.assert_close(model(x), h @ p["readout.weight"].T + p["readout.bias"])


@pytest.mark.parametrize(("activation", "gain"), [("relu", math.sqrt(2)), ("tanh", 1.0), ("identity", 1.0)])
def test_a_cnns_weights_have_the_stated_spread(activation, gain):
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    model = cnn(TaskShape((3, 8, 8), 50), channels=(40, 60), activation=activation)
    gains = {"hidden1.conv": gain, "hidden2.conv": gain, "readout": 1.0}
    for name, expected in gains.items():
        layer = model.get_submodule(name)
        sd = expected / math.sqrt(layer.weight[0].numel())
        assert layer.weight.std().item() == pytest.approx(sd, rel=5 / math.sqrt(2 * layer.weight.numel()))
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("model", [cnn, resnet])
@pytest.mark.parametrize("inputs", [(64,), (28, 28), (1, 1, 8, 8)])
def test_what_is_no_image_is_refused(model, inputs):
    with pytest.raises(DataError, match=rf"model {model.name}: expected images \(channels, height, width\)"):
        model(TaskShape(inputs, 3))


def test_published_residual_networks_have_their_numbers_of_parameters():
    """ResNet-18 for CIFAR-10 has 11,173,962, a figure that many repositories print; ResNet-20 has 269,722 by He et al.,
    whose shortcuts have none, and 2,752 more in two shortcuts of convolutions with batch norm."""
    shape = TaskShape((3, 32, 32), 10)
    assert _count(resnet(shape, stages=4, blocks=2, width=64)) == 11_173_962
    assert _count(resnet(shape, blocks=3)) == 269_722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


@pytest.mark.parametrize("blocks", [1, 3])
def test_depth_is_six_n_plus_two(blocks):
    model = resnet(TaskShape((3, 8, 8), 10), blocks=blocks, width=4)
    layers = [
        n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in n
    ]
    assert len(layers) == 6 * blocks + 2


def test_each_stage_halves_the_image_and_doubles_the_channels():
    model = resnet(TaskShape((1, 16, 8), 3), width=4, blocks=2).eval()
    x, shapes = torch.randn(2, 1, 16, 8), []
    for name, module in model.named_children():
        x = module(x)
        shapes += [tuple(x.shape[1:])] if name.startswith(("stem", "block")) else []
    assert shapes == [*[(4, 16, 8)] * 3, *[(8, 8, 4)] * 2, *[(16, 4, 2)] * 2]


def test_a_block_is_the_formula():
    model = resnet(TaskShape((4, 5, 5), 3), width=4, norm="none")
    block, x = model.block1, torch.randn(2, 4, 5, 5)
    inner = functional.conv2d(x, block.conv1.weight, padding=1).clamp(min=0)
    expected = (x + functional.conv2d(inner, block.conv2.weight, padding=1)).clamp(min=0)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_the_norm_is_the_one_asked_for(norm):
    model = resnet(TaskShape((3, 8, 8), 3), width=6, norm=norm)
    kinds = {"batch": nn.BatchNorm2d, "group": nn.GroupNorm}
    found = [m for m in model.modules() if isinstance(m, (*kinds.values(), nn.LayerNorm))]
    assert {type(m) for m in found} == ({kinds[norm]} if norm in kinds else set())
    assert len(found) == (9 if norm in kinds else 0)  # stem, two a block, two shortcuts
    if norm == "group":
        assert [m.num_groups for m in found] == [2, 2, 2, 4, 4, 4, 8, 8, 8]


def test_without_a_norm_activations_stay_bounded_in_depth():
    """With branches 1/√L as large, second moments grow by at most (1 + 1/L)^L < e; unscaled, they would double."""

    def second_moment(blocks, undo=False):
        torch.manual_seed(0)
        model = resnet(TaskShape((3, 8, 8), 3), width=32, stages=1, blocks=blocks, norm="none")
        if undo:
            for k in range(blocks):
                model.get_submodule(f"block{k + 1}").conv2.weight.data.mul_(math.sqrt(blocks))
        with torch.no_grad():
            return model[: blocks + 1](torch.randn(8, 3, 8, 8)).square().mean().item()

    shallow, deep = second_moment(2), second_moment(16)
    assert deep / shallow < math.e
    assert second_moment(16, undo=True) / shallow > 100


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_residual_weights_have_the_stated_spread(norm):
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    model = resnet(TaskShape((3, 8, 8), 3), width=32, stages=2, blocks=2, norm=norm)
    for block in (model.block1, model.block3):
        for conv, shrunk in ((block.conv1, 1), (block.conv2, math.sqrt(4) if norm == "none" else 1)):
            sd = math.sqrt(2 / conv.weight[0].numel()) / shrunk
            assert conv.weight.std().item() == pytest.approx(sd, rel=5 / math.sqrt(2 * conv.weight.numel()))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_residual_network_trains(norm):
    model = resnet(TaskShape((1, 6, 6), 2), width=4, norm=norm)
    y = torch.arange(16) % 2
    x = torch.randn(16, 1, 6, 6) + (2 * y - 1)[:, None, None, None]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_units_of_a_block_are_captured_twice():
    model = resnet(TaskShape((1, 4, 4), 2), width=4, norm="group")
    layers = hidden_layers(model)
    assert list(layers) == ["stem", "block1", "block2", "block3"]
    _, seen = Look(model, {"A": torch.randn(3, 1, 4, 4)}, layers).forward
    assert list(seen) == ["stem", *(f"block{k}#{i}" for k in (1, 2, 3) for i in (1, 2))]
    assert all((units >= 0).all() for units in seen.values())
    assert [units.shape[1] for units in seen.values()] == [64, 64, 64, 32, 32, 16, 16]
