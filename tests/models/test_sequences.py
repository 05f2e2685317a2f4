"""Networks for sequences: torch's own modules with the same weights compute the same."""

import pytest
import torch
from torch import nn

from clntk import registry
from clntk.capture.look import Look, hidden_layers
from clntk.errors import DataError
from clntk.shape import TaskShape

rnn, transformer = registry.get("model", "rnn"), registry.get("model", "transformer")
TORCH = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _noisy(model):
    """In float64, with every parameter away from zero."""
    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def _twin(model, cell, depth, bias):
    twin = TORCH[cell](3, 6, num_layers=depth, bias=bias, batch_first=True).double()
    with torch.no_grad():
        for k in range(depth):
            layer = model.get_submodule(f"hidden{k + 1}")
            getattr(twin, f"weight_ih_l{k}").copy_(layer.input.weight)
            getattr(twin, f"weight_hh_l{k}").copy_(layer.recurrent.weight)
            if bias:
                getattr(twin, f"bias_ih_l{k}").copy_(layer.input.bias)
                getattr(twin, f"bias_hh_l{k}").zero_()
    return twin


@pytest.mark.parametrize("cell", TORCH)
@pytest.mark.parametrize(("depth", "bias"), [(1, True), (2, True), (1, False)])
def test_a_recurrent_network_is_torchs_with_the_same_weights(cell, depth, bias):
    model = _noisy(rnn(TaskShape((5, 3), 2), width=6, depth=depth, cell=cell, bias=bias))
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    states, _ = _twin(model, cell, depth, bias)(x)
    torch.testing.assert_close(model(x), model.readout(states[:, -1]))
    _, seen = Look(model, {"A": x}, hidden_layers(model)).forward
    steps = torch.stack([seen[f"hidden{depth}#{t + 1}"] for t in range(5)], dim=1)
    torch.testing.assert_close(steps, states.detach())
    assert len(seen) == 5 * depth


@pytest.mark.parametrize("cell", TORCH)
def test_a_recurrent_networks_weights_have_the_stated_spread(cell):
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    model = rnn(TaskShape((5, 50), 40), width=70, cell=cell)
    for layer in (model.hidden1.input, model.hidden1.recurrent, model.readout):
        sd = layer.in_features**-0.5
        assert layer.weight.std().item() == pytest.approx(sd, rel=5 / (2 * layer.weight.numel()) ** 0.5)
    ones = model.hidden1.input.bias == 1
    assert ones.nonzero().flatten().tolist() == (list(range(70, 140)) if cell == "lstm" else [])
    assert (model.hidden1.input.bias[~ones] == 0).all()


@pytest.mark.parametrize("inputs", [(12,), (1, 8, 8)])
def test_what_is_no_sequence_is_refused_by_a_recurrent_network(inputs):
    with pytest.raises(DataError, match=r"model rnn: expected sequences \(time, features\), found inputs of"):
        rnn(TaskShape(inputs, 3))


def _encoder(model, depth, width, heads, expansion):
    """Torch's encoder with the same weights."""
    layer = nn.TransformerEncoderLayer(
        width,
        heads,
        dim_feedforward=expansion * width,
        dropout=0.0,
        activation="gelu",
        norm_first=True,
        batch_first=True,
    )
    twin = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).double()
    with torch.no_grad():
        for k, there in enumerate(twin.layers):
            here = model.get_submodule(f"block{k + 1}")
            qkv = (here.attention.query, here.attention.key, here.attention.value)
            there.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in qkv]))
            there.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in qkv]))
            pairs = [
                (there.self_attn.out_proj, here.attention.out),
                (there.linear1, here.expand),
                (there.linear2, here.contract),
                (there.norm1, here.norm1),
                (there.norm2, here.norm2),
            ]
            for a, b in pairs:
                a.load_state_dict(b.state_dict())
    return twin


@pytest.mark.parametrize(("depth", "heads"), [(1, 1), (2, 4)])
def test_a_transformer_is_torchs_with_the_same_weights(depth, heads):
    model = _noisy(transformer(TaskShape((5, 3), 2), width=8, depth=depth, heads=heads, expansion=2))
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    tokens = model.embed(x) + model.positions.table
    tokens = _encoder(model, depth, 8, heads, 2)(tokens)
    torch.testing.assert_close(model(x), model.readout(model.norm(tokens).mean(1)))


def test_images_are_cut_into_patches_row_by_row():
    model = transformer(TaskShape((2, 4, 6), 3), width=8, patch=2)
    x = torch.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    patches = model.patches(x)
    assert patches.shape == (1, 6, 8)
    for k in range(6):
        row, column = 2 * (k // 3), 2 * (k % 3)
        assert torch.equal(patches[0, k], x[0, :, row : row + 2, column : column + 2].flatten())
    assert model(x).shape == (1, 3)


def test_only_positions_tell_tokens_apart():
    model = transformer(TaskShape((5, 3), 2), width=8, heads=2)
    x, order = torch.randn(4, 5, 3), torch.tensor([3, 1, 4, 0, 2])
    assert not torch.allclose(model(x), model(x[:, order]))
    model.positions.table.data.zero_()
    torch.testing.assert_close(model(x), model(x[:, order]))


def test_branches_start_smaller_in_deeper_transformers():
    """The sample sd of n normal draws has a relative standard error of 1/√2n; five of them are allowed."""
    model = transformer(TaskShape((5, 3), 2), width=64, depth=3)
    for layer in (model.block2.attention.out, model.block2.contract):
        sd = (layer.in_features * 2 * 3) ** -0.5
        assert layer.weight.std().item() == pytest.approx(sd, rel=5 / (2 * layer.weight.numel()) ** 0.5)
    assert model.block2.expand.weight.std().item() == pytest.approx(1 / 8, rel=0.05)
    assert model.positions.table.std().item() == pytest.approx(0.02, rel=5 / (2 * 5 * 64) ** 0.5)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ((12,), {}, r"expected sequences \(time, features\) or images .* found inputs of shape \(12,\)"),
        ((1, 8, 6), {"patch": 4}, r"model.patch: expected a side that divides images of 8 × 6 pixels"),
        ((5, 3), {"width": 30}, r"expected heads that divide the width 30, found 4"),
    ],
)
def test_what_cannot_be_cut_is_refused(inputs, options, message):
    with pytest.raises(DataError, match=message):
        transformer(TaskShape(inputs, 3), **options)
