"""The empirical kernel against a double loop, closed forms, and what it must refuse."""

import copy

import pytest
import torch
from torch import nn

from clntk.errors import DataError
from clntk.kernels.empirical import empirical_ntk


def _net(outputs=3, *, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, outputs)).double()


def _conv():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 2), nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        model(torch.randn(20, 1, 3, 3, dtype=torch.float64))  # running statistics of its own
    return model.eval()


class Tied(nn.Module):
    """One weight matrix used twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5, bias=False)
        self.second.weight = self.first.weight
        self.double()

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))[:, :3]


def _x(n, *shape, seed=1):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _double_loop(model, x1, x2):
    """⟨∂f_c(x1_n)/∂θ, ∂f_d(x2_m)/∂θ⟩, one pair at a time."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients(x):
        rows = []
        for example in x:
            f = model(example[None])[0]
            rows.append(
                [
                    torch.cat(
                        [g.flatten() for g in torch.autograd.grad(output, parameters, retain_graph=True)]
                    )
                    for output in f
                ]
            )
        return rows

    left, right = gradients(x1), gradients(x2)
    return torch.tensor(
        [[[[float(a @ b) for b in m] for m in right] for a in n] for n in left], dtype=torch.float64
    )


CASES = {
    "mlp": (_net, (5,)),
    "one output": (lambda: _net(1), (5,)),
    "convolution with batch norm": (_conv, (1, 3, 3)),
    "tied weights": (Tied, (5,)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("n", "m"), [(4, 3), (1, 1), (1, 5), (4, None)])
def test_kernel_is_the_double_loop(case, n, m):
    make, shape = CASES[case]
    model, x1 = make(), _x(n, *shape)
    x2 = None if m is None else _x(m, *shape, seed=2)
    expected = _double_loop(model, x1, x1 if x2 is None else x2)
    full = empirical_ntk(model, x1, x2)
    assert full.shape == expected.shape
    assert (full - expected).abs().max() <= 1e-10
    trace = empirical_ntk(model, x1, x2, mode="trace")
    assert (trace - torch.einsum("ncmc->nm", expected)).abs().max() <= 1e-10


def test_a_linear_networks_kernel_is_closed_form():
    """f = Wx + b: K[n,c,m,d] = δ_cd (x_n·x_m + 1), and the trace sums C of them."""
    x1, x2 = _x(6, 5), _x(4, 5, seed=2)
    model = nn.Linear(5, 3).double()
    gram = x1 @ x2.T + 1
    torch.testing.assert_close(empirical_ntk(model, x1, x2, mode="trace"), 3 * gram)
    torch.testing.assert_close(
        empirical_ntk(model, x1, x2), torch.einsum("nm,cd->ncmd", gram, torch.eye(3).double())
    )


def test_kernel_is_symmetric_and_positive_semi_definite():
    x = _x(9, 5)
    full = empirical_ntk(_net(), x).reshape(27, 27)
    trace = empirical_ntk(_net(), x, mode="trace")
    for kernel in (full, trace):
        torch.testing.assert_close(kernel, kernel.T, rtol=0, atol=1e-12)
        assert torch.linalg.eigvalsh(kernel).min() > -1e-10 * kernel.diagonal().sum()


def test_frozen_parameters_are_left_out():
    model = _net()
    model[0].requires_grad_(False)
    hidden = torch.tanh(model[0](_x(4, 5)))
    expected = 3 * (hidden @ hidden.T + 1)  # the read-out alone is linear in its weights
    torch.testing.assert_close(empirical_ntk(model, _x(4, 5), mode="trace"), expected)


def test_single_precision_stays_single():
    kernel = empirical_ntk(_net().float(), _x(4, 5).float())
    assert kernel.dtype == torch.float32
    torch.testing.assert_close(kernel.double(), empirical_ntk(_net(), _x(4, 5)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["full", "trace"])
def test_the_network_is_left_as_it_was_found(mode):
    model = _conv()
    model[0].train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    generator = torch.get_rng_state()
    kernel = empirical_ntk(model, _x(4, 1, 3, 3), mode=mode)
    assert not kernel.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all((p.grad == 1).all() and p.requires_grad for p in model.parameters())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(7), nn.Dropout(0.5), nn.AlphaDropout(0.1)])
def test_layers_that_depend_on_the_batch_or_on_chance_are_refused(layer):
    model = nn.Sequential(nn.Linear(5, 7), layer, nn.Linear(7, 3)).double()
    name = type(layer).__name__
    with pytest.raises(
        DataError, match=rf"module '1' \({name}\) is in training mode.*call model.eval\(\) first"
    ):
        empirical_ntk(model, _x(4, 5))
    assert empirical_ntk(model.eval(), _x(4, 5), mode="trace").shape == (4, 4)


def test_batch_norm_without_running_statistics_is_refused_in_eval_mode_too():
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    model = nn.Sequential(norm, nn.Flatten(), nn.Linear(9, 3)).double().eval()
    with pytest.raises(DataError, match=r"module '0' \(BatchNorm2d\) keeps no running statistics"):
        empirical_ntk(model, _x(4, 1, 3, 3))


def test_an_empty_batch_is_refused():
    for x1, x2 in ((_x(0, 5), None), (_x(3, 5), _x(0, 5))):
        with pytest.raises(DataError, match="expected at least one input on each side, found an empty batch"):
            empirical_ntk(_net(), x1, x2)


def test_outputs_of_another_rank_are_refused():
    for last, shape in ((nn.Flatten(0), r"\(6,\)"), (nn.Unflatten(1, (3, 1)), r"\(2, 3, 1\)")):
        with pytest.raises(
            DataError, match=rf"expected outputs of shape \(examples, outputs\), found {shape}"
        ):
            empirical_ntk(nn.Sequential(_net(), last), _x(4, 5))


def test_a_network_without_trainable_parameters_is_refused():
    with pytest.raises(
        DataError, match="expected a model with parameters that require gradients, found none"
    ):
        empirical_ntk(_net().requires_grad_(False), _x(4, 5))


def test_another_mode_is_refused():
    with pytest.raises(DataError, match=r"empirical_ntk.mode: expected one of full, .*, found 'mean'"):
        empirical_ntk(_net(), _x(4, 5), mode="mean")
