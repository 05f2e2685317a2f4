"""Random features: the network it is, and that only its read-out learns."""

import torch

from clntk import registry
from clntk.kernels.empirical import empirical_ntk
from clntk.shape import TaskShape

SHAPE = TaskShape((6,), 3)


def _made(name, **options):
    torch.manual_seed(0)
    return registry.get("model", name)(SHAPE, **{"width": 20, "depth": 2, **options})


def test_it_is_the_mlp_of_the_same_draw_of_which_only_the_readout_is_trained():
    options = {"activation": "tanh", "bias_init": 0.3, "init_scale": 2.0}
    model, same = _made("random_features", **options), _made("mlp", **options)
    for (name, a), (other, b) in zip(model.named_parameters(), same.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(a, b)
        assert a.requires_grad == name.startswith("readout")


def test_its_kernel_is_that_of_the_features():
    model, x = _made("random_features").double(), torch.randn(5, 6, dtype=torch.float64)
    phi = model[:-1](x)
    expected = torch.einsum("nm,cd->ncmd", phi @ phi.T + 1, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(empirical_ntk(model, x), expected)


def test_a_step_moves_only_the_readout():
    model = _made("random_features")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(torch.randn(5, 6)).square().sum().backward()
    optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != name.startswith("readout")
