"""Lesions against networks whose units were taken out by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from clntk import registry
from clntk.capture import lesion
from clntk.capture.lesion import lesioned_outputs, unit_activity
from clntk.capture.look import hidden_layers
from clntk.errors import DataError
from clntk.shape import TaskShape

FLAT, IMAGE, SEQUENCE = TaskShape((5,), 3), TaskShape((2, 4, 4), 3), TaskShape((3, 4), 3)


@pytest.fixture
def made():
    """A network of a registered model under a regime."""

    def make(model, shape, *, regime="standard", options=None, **kwargs):
        torch.manual_seed(0)
        network = registry.get("model", model)(shape, **kwargs)
        return registry.get("regime", regime)(network, shape, **(options or {})).model

    return make


def _x(shape, n=6):
    return torch.randn(n, *shape.inputs, generator=torch.Generator().manual_seed(1))


def _moved(network):
    """The same network after some training, so that it differs from what a regime keeps of it."""
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.3 * torch.randn(p.shape, generator=g)
    return network


def _all_lesions(units):
    return torch.eye(units, dtype=torch.bool)


def _without_columns(network, path, columns):
    """The network whose linear layer at ``path`` no longer reads some of its inputs."""
    cut = copy.deepcopy(network)
    with torch.no_grad():
        cut.get_submodule(path).weight[:, columns] = 0
    return cut


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("layer", "reader"), [("hidden1", "hidden2.linear"), ("hidden2", "readout")])
def test_a_silenced_unit_is_one_that_nothing_reads(layer, reader, activation, made):
    network, x = made("mlp", FLAT, width=7, depth=2, activation=activation), _x(FLAT)
    masks = torch.rand(9, 7, generator=torch.Generator().manual_seed(3)) < 0.4
    masks = torch.cat([masks, _all_lesions(7), torch.zeros(1, 7, dtype=torch.bool)])
    found = lesioned_outputs(network, hidden_layers(network), x, {layer: masks})
    assert found.shape == (17, 6, 3)
    for mask, outputs in zip(masks, found, strict=True):
        torch.testing.assert_close(outputs, _without_columns(network, reader, mask)(x).detach())
    torch.testing.assert_close(found[-1], network(x).detach())


def test_units_of_several_layers_are_silenced_together(made):
    network, x = made("mlp", FLAT, width=4, depth=2), _x(FLAT)
    one, two = (torch.rand(5, 4, generator=torch.Generator().manual_seed(s)) < 0.5 for s in (0, 1))
    found = lesioned_outputs(network, hidden_layers(network), x, {"hidden1": one, "hidden2": two})
    for k, outputs in enumerate(found):
        cut = _without_columns(_without_columns(network, "hidden2.linear", one[k]), "readout", two[k])
        torch.testing.assert_close(outputs, cut(x).detach())


def test_channels_of_feature_maps_are_silenced_at_all_positions(made):
    network, x = made("cnn", IMAGE, channels=(3, 4)), _x(IMAGE)
    layers = hidden_layers(network)
    found = lesioned_outputs(network, layers, x, {"hidden1": _all_lesions(3)})
    for channel, outputs in enumerate(found):
        expected = _without_columns(network, "hidden2.conv", channel)(x).detach()
        torch.testing.assert_close(outputs, expected)
    assert unit_activity(network, layers, x)["hidden1"].shape[0::2] == (6, 3)


def test_a_unit_of_a_recurrent_network_is_silent_at_every_step(made):
    network, x = made("rnn", SEQUENCE, width=4), _x(SEQUENCE)
    layers, cell = hidden_layers(network), network.hidden1
    found = lesioned_outputs(network, layers, x, {"hidden1": _all_lesions(4)})
    for unit, outputs in enumerate(found):
        h, kept = torch.zeros(6, 4), torch.ones(4)
        kept[unit] = 0
        for t in range(3):
            h = kept * torch.tanh(cell.input(x[:, t]) + cell.recurrent(h))
        torch.testing.assert_close(outputs, network.readout(h).detach())
    assert unit_activity(network, layers, x)["hidden1"].shape == (6, 3, 4)


def test_a_feature_of_a_transformer_is_silent_at_every_token(made):
    network, x = made("transformer", SEQUENCE, width=4, depth=1, heads=2), _x(SEQUENCE)
    (label, path), *_ = hidden_layers(network).items()
    units = unit_activity(network, {label: path}, x)[label].shape[-1]
    found = lesioned_outputs(network, {label: path}, x, {label: _all_lesions(units)})
    for unit in range(units):
        cut = _without_columns(network, path.replace("activation", "contract"), unit)
        torch.testing.assert_close(found[unit], cut(x).detach())


@pytest.mark.parametrize("regime", ["output_scale", "linearized"])
def test_a_copy_at_initialisation_loses_the_same_units(regime, made):
    """Of α(g(x; θ) − g(x; θ₀)) both terms do without the unit; so does f₀ + ∇f₀ Δθ in every part."""
    options = {"alpha": 7.0} if regime == "output_scale" else {}
    network, x = _moved(made("mlp", FLAT, regime=regime, options=options, width=5, depth=1)), _x(FLAT)
    found = lesioned_outputs(network, hidden_layers(network), x, {"hidden1": _all_lesions(5)})
    for unit in range(5):
        cut = copy.deepcopy(network)
        with torch.no_grad():
            cut.network.readout.weight[:, unit] = 0
            cut.initial.readout.weight[:, unit] = 0
        torch.testing.assert_close(found[unit], cut(x).detach())


def test_the_network_is_left_as_it_was(made):
    network, x = made("mlp", FLAT, width=4, depth=1).train(), _x(FLAT)
    before, state = network(x).detach(), torch.get_rng_state()
    lesioned_outputs(network, hidden_layers(network), x, {"hidden1": _all_lesions(4)})
    with pytest.raises(DataError):
        lesioned_outputs(network, hidden_layers(network), x, {"hidden1": _all_lesions(5)})
    assert network.training
    assert torch.equal(network(x).detach(), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("at_once", [1, 13, 10**6])
def test_what_fits_at_once_makes_no_difference(at_once, made, monkeypatch):
    network, x = made("mlp", FLAT, width=4, depth=1), _x(FLAT)
    masks = {"hidden1": torch.rand(11, 4, generator=torch.Generator().manual_seed(0)) < 0.5}
    expected = lesioned_outputs(network, hidden_layers(network), x, masks)
    monkeypatch.setattr(lesion, "AT_ONCE", at_once)
    torch.testing.assert_close(lesioned_outputs(network, hidden_layers(network), x, masks), expected)


def test_dropout_and_batch_statistics_play_no_part():
    network = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 3))
    x, layers = _x(FLAT), {"it": "2"}
    found = lesioned_outputs(network, layers, x, {"it": torch.zeros(3, 4, dtype=torch.bool)})
    torch.testing.assert_close(found, network.eval()(x).detach().expand(3, -1, -1))


def test_an_infinite_activation_is_silenced_too():
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[torch.inf], [1.0]]))
    found = lesioned_outputs(network, {"it": "1"}, torch.ones(2, 1), {"it": [[True, False]]})
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("layers", "silenced", "message"),
    [
        ({"a": "1"}, {"b": np.eye(4, dtype=bool)}, "expected layers of a, found 'b'"),
        ({"a": "nowhere"}, {"a": np.eye(4, dtype=bool)}, "expected the path of a module, found 'nowhere'"),
        (
            {"a": "1"},
            {"a": np.zeros((2, 3), bool)},
            "layer 'a': expected one value for each of 4 units, found 3",
        ),
        ({"a": "1"}, {"a": np.zeros(4, bool)}, r"the same number of lesions, and some; found .*\(4,\)"),
        ({"a": "1"}, {"a": np.zeros((0, 4), bool)}, "the same number of lesions, and some"),
        ({"a": "1"}, {}, "the same number of lesions, and some"),
        ({"a": "1", "b": "2"}, {"a": np.eye(4), "b": np.ones((3, 2))}, "the same number of lesions"),
    ],
)
def test_lesions_that_do_not_fit_are_refused(layers, silenced, message):
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(DataError, match=message):
        lesioned_outputs(network, layers, _x(FLAT), silenced)
